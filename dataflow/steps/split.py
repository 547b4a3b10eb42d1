"""``split``: train or held-out, for whole near-duplicate clusters, by a hash of their content.

A cluster is held out when *any* of its members would be, by the hash of its own content. So a
document that was held out once stays so in every later build that has the same seed and fraction,
whatever joins its cluster. (The price: large clusters are held out a little more often.) The other
direction needs memory: ``split.previous`` names an earlier run, whose documents, and all that are
near duplicates of them now, keep the side that they had; held-out wins where they disagree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.steps.columns import id_bytes, id_words
from dataflow.store import Store
from dataflow.tasks import Step, StepContext

TRAIN, HELD_OUT = 0, 1
NAMES = ("train", "heldout")
"""Names of the splits, by code; shards are named after them."""


def _mix64(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): a bijection of uint64 that spreads bits."""
    mixed = values.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def assign(
    content_id: pa.Array,
    cluster: np.ndarray,
    fraction: float,
    seed: int,
    remembered: np.ndarray | None = None,
) -> np.ndarray:
    """The split code of each document, ``uint8[n]``.

    Parameters
    ----------
    content_id : binary(16)[n]
    cluster : uint32[n], the first member of the cluster that each document belongs to
    fraction : share of clusters to hold out, in [0, 1]
    seed : any integer
    remembered : int8[n], -1 for documents an earlier run did not know, else their code there
    """
    high, low = id_words(content_id)
    salt = _mix64(np.asarray([seed & (2**64 - 1)], np.uint64))
    hashed = _mix64(_mix64(high ^ salt) ^ low)
    # The top 53 bits: a float64 holds them exactly, so the comparison is exact.
    own = (hashed >> np.uint64(11)).astype(np.float64) < fraction * 2.0**53
    codes = np.zeros(len(cluster), np.uint8)
    np.maximum.at(codes, cluster, own.astype(np.uint8))
    if remembered is not None:
        known = remembered >= 0
        before = np.full(len(cluster), -1, np.int8)
        np.maximum.at(before, cluster[known], remembered[known])
        codes = np.where(before >= 0, before, codes).astype(np.uint8)
    spread: np.ndarray = codes[cluster]
    return spread


def _remember(uri: str, paths: list[str], content_id: pa.Array) -> np.ndarray:
    """What an earlier run's index says of these texts: -1 nothing, else the code."""
    import pyarrow.parquet as pq

    store = Store(uri)
    known: dict[bytes, int] = {}
    for path in paths:
        with store.open(path) as stream:
            table = pq.ParquetFile(stream).read(columns=["content_id", "split"], use_threads=False)
        for row, name in zip(
            id_bytes(table["content_id"]), table["split"].to_pylist(), strict=True
        ):
            code = NAMES.index(name)
            known[row.tobytes()] = max(code, known.get(row.tobytes(), 0))
    rows = id_bytes(content_id)
    return np.asarray([known.get(row.tobytes(), -1) for row in rows], np.int8)


def run(context: StepContext) -> dict[str, Any]:
    """Write the split code of every rank."""
    ranks = context.read_arrays(context.input("order"), "ranks")
    verdicts = context.read_arrays(context.input("near"), "verdicts")
    content, cluster = ranks["content_id"], verdicts["cluster"].to_numpy()
    remembered = None
    if context.params["previous"]:
        previous = context.local["previous"]
        remembered = _remember(previous["uri"], previous["index"], content)
    codes = assign(content, cluster, context.params["held_out"], context.params["seed"], remembered)
    context.write_arrays("splits", {"split": codes})
    own = np.arange(len(cluster), dtype=np.uint32)
    kept = verdicts["survivor"].to_numpy() == own
    length = ranks["text_bytes"].to_numpy()
    return {
        "kept": [int((kept & (codes == code)).sum()) for code in (TRAIN, HELD_OUT)],
        "kept_bytes": [int(length[kept & (codes == code)].sum()) for code in (TRAIN, HELD_OUT)],
    }


STEP = Step("split", run)
