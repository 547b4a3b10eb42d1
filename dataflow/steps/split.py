"""``split``: train or held-out, for whole near-duplicate clusters, by a hash of their content.

A cluster is held out when *any* of its members would be, by the hash of its own content. So a
document that was held out once stays so in every later build that has the same seed and fraction,
whatever joins its cluster. (The price: large clusters are held out a little more often.) The other
direction needs memory: ``split.previous`` names an earlier run, whose documents, and all that are
near duplicates of them now, keep the side that they had; held-out wins where they disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dataflow.arrays import Columns, windows
from dataflow.lists import list_array, list_sums
from dataflow.parquet import read_table
from dataflow.ranks import DROPPED, RANKS, ROWS, SPLITS, VERDICTS
from dataflow.shards.sets import PICTURED, SETS, SIDES
from dataflow.steps.columns import id_array, id_bytes, id_words
from dataflow.store import Store
from dataflow.tasks import Step, StepContext

TRAIN, HELD_OUT = 0, 1
NAMES = SIDES
"""Names of the splits, by code; shards are named after them."""


def _mix64(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): a bijection of uint64 that spreads bits."""
    mixed = values.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def own_side(content_id: Any, fraction: float, seed: int) -> np.ndarray:
    """The split code, ``uint8[n]``, that each document (``content_id`` binary(16)[n]) would have
    if it were alone."""
    high, low = id_words(content_id)
    salt = _mix64(np.asarray([seed & (2**64 - 1)], np.uint64))
    hashed = _mix64(_mix64(high ^ salt) ^ low)
    # The top 53 bits: a float64 holds them exactly, so the comparison is exact.
    held_out = (hashed >> np.uint64(11)).astype(np.float64) < fraction * 2.0**53
    return held_out.astype(np.uint8)


class Sides:
    """The sides of clusters, from those of their members; one or two bytes a document.

    Parameters
    ----------
    n : documents
    remembers : some may be known from an earlier run
    """

    def __init__(self, n: int, *, remembers: bool) -> None:
        self._codes = np.zeros(n, np.uint8)
        self._before = np.full(n, -1, np.int8) if remembers else None

    def add(self, cluster: np.ndarray, own: np.ndarray, remembered: np.ndarray | None) -> None:
        """Take members: their clusters' first members (uint32), their own sides, and what an
        earlier run says of them (int8: -1 nothing, else the code)."""
        np.maximum.at(self._codes, cluster, own)
        if self._before is not None and remembered is not None:
            known = remembered >= 0
            np.maximum.at(self._before, cluster[known], remembered[known])

    def of(self, cluster: np.ndarray) -> np.ndarray:
        """The side of each of some clusters, ``uint8``, when all members were added."""
        codes: np.ndarray = self._codes[cluster]
        if self._before is not None:
            before = self._before[cluster]
            codes = np.where(before >= 0, before, codes).astype(np.uint8)
        return codes


class _Memory:
    """What an earlier run's index says of texts."""

    def __init__(self, uri: str, paths: list[str]) -> None:
        store = Store(uri)
        self._known: dict[bytes, int] = {}
        for path in paths:
            table = read_table(store, path, ["content_id", "split"])
            for row, name in zip(
                id_bytes(table["content_id"]), table["split"].to_pylist(), strict=True
            ):
                key = row.tobytes()
                self._known[key] = max(NAMES.index(name), self._known.get(key, 0))

    def of(self, content_id: np.ndarray) -> np.ndarray:
        """-1 nothing, else the code; int8[n] for ``uint8[n, 16]``."""
        return np.asarray([self._known.get(row.tobytes(), -1) for row in content_id], np.int8)


def run(context: StepContext) -> dict[str, Any]:
    """Write ``SPLITS``; count what each set of shards (``SETS``) is to hold.

    ``pictured`` are the partitions that have images, and where their rows begin.
    """
    ranks = RANKS.open(context, context.input("order"))
    verdicts = VERDICTS.open(context, context.input("near"))
    memory = None
    if context.params["previous"]:
        previous = context.local["previous"]
        memory = _Memory(previous["uri"], previous["index"])
    n = len(ranks)
    sides = Sides(n, remembers=memory is not None)
    for start, stop in windows(n):
        content = ranks.read("content_id", start, stop)
        own = own_side(id_array(content), context.params["held_out"], context.params["seed"])
        remembered = memory.of(content) if memory else None
        sides.add(verdicts.read("cluster", start, stop), own, remembered)
    kept, kept_bytes = np.zeros(len(SETS), np.int64), np.zeros(len(SETS), np.int64)
    with SPLITS.create(context) as out:
        for start, stop in windows(n):
            codes = sides.of(verdicts.read("cluster", start, stop))
            out.add(split=codes)
            stays = verdicts.read("survivor", start, stop) == np.arange(start, stop)
            length = ranks.read("text_bytes", start, stop)
            for code in (TRAIN, HELD_OUT):
                mine = stays & (codes == code)
                kept[code] += int(mine.sum())
                kept_bytes[code] += int(length[mine].sum())
    for code, documents, text_bytes, image_bytes in _pictured(context, ranks, verdicts):
        kept[code] -= documents
        kept_bytes[code] -= text_bytes
        kept[code + PICTURED] += documents
        kept_bytes[code + PICTURED] += text_bytes + image_bytes
    return {"kept": kept.tolist(), "kept_bytes": kept_bytes.tolist()}


def _pictured(
    context: StepContext, ranks: Columns, verdicts: Columns
) -> Iterator[tuple[int, int, int, int]]:
    """(code, documents, bytes of text, bytes of images) of the survivors with images."""
    rows = ROWS.open(context, context.input("order"))
    splits = SPLITS.written(context)
    for base, record in zip(context.params["pictured"], context.inputs("pictured"), strict=True):
        for group in context.read_groups(record, "documents", ["images.list.element.bytes"]):
            counts = np.asarray(list_array(group["images"]).value_lengths())
            rank = rows.read("rank", base, base + group.num_rows)
            base += group.num_rows
            has = np.flatnonzero((counts > 0) & (rank != DROPPED))
            has = has[verdicts.take("survivor", rank[has]) == rank[has]]
            sizes = list_sums(group["images"], "bytes")[has]
            side = splits.take("split", rank[has])
            length = ranks.take("text_bytes", rank[has])
            for code in (TRAIN, HELD_OUT):
                mine = side == code
                yield code, int(mine.sum()), int(length[mine].sum()), int(sizes[mine].sum())


STEP = Step("split", run)
