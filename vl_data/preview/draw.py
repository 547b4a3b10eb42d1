"""Which documents of a run are shown: drawn by seed and hash, evenly over the sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from vl_data.preview.errors import PreviewRefused
from vl_data.runs.folder import RunFolder, Shard

PICTURED = "-vl-"
"""In the names of shards whose documents have images or loss spans."""
_COLUMNS = ["doc_id", "source", "split", "license", "member", "text_offset", "text_bytes", "images"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A document that was drawn: its shard, and its row of the index."""

    shard: Shard
    row: dict[str, Any]


def draw(run: RunFolder, count: int, seed: int, source: str | None = None) -> list[Drawn]:
    """``count`` documents, the same ones at any order of shards: a hash of seed and id decides.

    Without ``source``: of the shards of documents with images or loss spans, evenly over their
    sources, as far as each has any. Sources in the order of their names.

    Raises
    ------
    PreviewRefused
        If there is none to draw.
    """
    best: dict[str, list[tuple[bytes, Drawn]]] = {}
    there: set[str] = set()
    for shard, table in run.index(_COLUMNS):
        names = set(pc.unique(table["source"]).to_pylist())
        there |= names
        if source is None and PICTURED not in shard.name:
            continue
        for name in sorted(names) if source is None else sorted(names & {source}):
            mine = table.filter(pc.equal(table["source"], name))
            found = best.get(name, []) + _first(shard, mine, count, seed)
            best[name] = sorted(found, key=lambda one: one[0])[:count]
    if source is not None and source not in there:
        raise PreviewRefused(
            f"--source: found {source!r}, expected one of {', '.join(sorted(there)) or 'none'}"
        )
    if not best:
        raise PreviewRefused(
            f"{run.uri}: found no documents with images, expected some; `--source` shows those of "
            f"text too: {', '.join(sorted(there)) or 'the run has none'}"
        )
    given = _even([len(best[name]) for name in sorted(best)], count)
    return [
        drawn
        for name, some in zip(sorted(best), given, strict=True)
        for _, drawn in best[name][:some]
    ]


def _first(shard: Shard, table: pa.Table, count: int, seed: int) -> list[tuple[bytes, Drawn]]:
    head = b"leyden.preview\0%d\0" % seed
    keys = [blake3(head + doc_id).digest() for doc_id in table["doc_id"].to_pylist()]
    order = sorted(range(len(keys)), key=keys.__getitem__)[:count]
    rows = table.take(order).to_pylist()
    return [(keys[i], Drawn(shard, row)) for i, row in zip(order, rows, strict=True)]


def _even(held: Sequence[int], count: int) -> list[int]:
    """``count`` divided as evenly as what is held allows, the first ones first."""
    given = [0] * len(held)
    while count and (open_ := [i for i, most in enumerate(held) if given[i] < most]):
        for i in open_[:count]:
            given[i] += 1
        count -= min(count, len(open_))
    return given
