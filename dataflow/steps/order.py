"""``order``: the survivor order of all documents that the rules keep, and the exact duplicates.

The order is total and comes from content alone: the recipe's survivor terms, then source priority,
``content_id`` and ``doc_id``. From here on a document is its *rank*, so that "which of two is to
survive" is a comparison of integers. Rank 0 survives everything.

Every step of it is a sort that spills what is more than its memory: documents by the order; then by
content, where the first of a group survives; then those that do not by rank, and all by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dataflow.arrays import WINDOW_ROWS, windows
from dataflow.external import Records, sorted_records
from dataflow.ranks import DROPPED, RANKS, ROWS
from dataflow.recipe.expressions import Term, parse_term, sort_key
from dataflow.signals import SIGNALS
from dataflow.steps.columns import id_words
from dataflow.steps.signals import join_signals
from dataflow.tasks import Step, StepContext

_FIXED = ["doc_id", "content_id"]
_ID_WORDS = [("content_high", "u8"), ("content_low", "u8"), ("doc_high", "u8"), ("doc_low", "u8")]
_CONTENT = np.dtype([("high", "u8"), ("low", "u8"), ("rank", "u4")])
_COPY = np.dtype([("rank", "u4"), ("survivor", "u4")])
_ROW = np.dtype([("row", "i8"), ("rank", "u4"), ("first", "u1")])
_RANKED = np.dtype([*_ID_WORDS, ("row", "i8"), ("bytes", "i8")])


def _partition(
    context: StepContext, position: int, terms: list[Term], base: int, dtype: np.dtype[np.void]
) -> tuple[int, Records]:
    """How many rows a partition has, and the records of those that the rules keep."""
    decided = context.read_arrays(context.inputs("decide")[position], "decisions")
    eligible = np.flatnonzero(decided["rule"].to_numpy() < 0)
    ids = context.read_table(context.inputs("documents")[position], "documents", _FIXED)
    names = sorted({name for term in terms for name in term.columns})
    columns = join_signals(context, names, position)
    records = np.empty(len(eligible), dtype)
    for number, term in enumerate(terms):
        records[f"term{number}"] = sort_key(term, columns)[eligible]
    records["priority"] = context.params["priorities"][position]
    for name, column in (("content", ids["content_id"]), ("doc", ids["doc_id"])):
        high, low = id_words(column)
        records[f"{name}_high"], records[f"{name}_low"] = high[eligible], low[eligible]
    # The last key tells two records of one id apart, which ``lookup`` finds and refuses.
    records["row"] = base + eligible
    records["bytes"] = decided["text_bytes"].to_numpy()[eligible]
    return decided.num_rows, records


def run(context: StepContext) -> dict[str, Any]:
    """Write ``ROWS`` and ``RANKS``."""
    types = {signal.name: signal.type for signal in SIGNALS.values()}
    terms = [parse_term(term, types) for term in context.params["survivor"]]
    keys = [(f"term{number}", "f8") for number in range(len(terms))]
    keys += [("priority", "i4"), *_ID_WORDS, ("row", "i8")]
    dtype = np.dtype([*keys, ("bytes", "i8")])
    total = 0

    def partitions() -> Iterator[Records]:
        nonlocal total
        for position in range(len(context.inputs("documents"))):
            rows, records = _partition(context, position, terms, total, dtype)
            total += rows
            yield records

    memory = context.local["memory_bytes"]
    ranked = context.scratch / "ranked"
    eligible = 0
    with ranked.open("wb") as file:
        fields = [name for name, _ in keys]
        for chunk in sorted_records(partitions(), fields, context.scratch, "order", memory):
            file.write(chunk[list(_RANKED.names or ())].astype(_RANKED).view(np.uint8).data)
            eligible += len(chunk)
    copies = _copies(context, ranked, eligible, memory) if context.params["exact"] else iter(())
    removed = 0
    with RANKS.create(context) as out:

        def by_rank() -> Iterator[Records]:
            nonlocal removed
            for start, stop, mine in _aligned(copies, eligible):
                records = _read(ranked, start, stop)
                exact = np.arange(start, stop, dtype=np.uint32)
                exact[mine["rank"] - np.uint32(start)] = mine["survivor"]
                removed += len(mine)
                out.add(
                    doc_id=_ids(records, "doc"),
                    content_id=_ids(records, "content"),
                    text_bytes=records["bytes"],
                    exact_survivor=exact,
                )
                rows = np.empty(stop - start, _ROW)
                rows["row"], rows["rank"] = records["row"], np.arange(start, stop)
                rows["first"] = exact == rows["rank"]
                yield rows

        _write_rows(
            context, sorted_records(by_rank(), ["row"], context.scratch, "rows", memory), total
        )
    return {"eligible": eligible, "exact_removed": removed}


def _read(ranked: Path, start: int, stop: int) -> Records:
    return np.fromfile(ranked, _RANKED, stop - start, offset=start * _RANKED.itemsize)


def _ids(records: Records, name: str) -> np.ndarray:
    """An id's two words as ``uint8[n, 16]``."""
    words = np.empty((len(records), 2), ">u8")
    words[:, 0], words[:, 1] = records[f"{name}_high"], records[f"{name}_low"]
    return words.view(np.uint8)


def _copies(context: StepContext, ranked: Path, eligible: int, memory: int) -> Iterator[Records]:
    """(rank, survivor) of all ranks whose content a smaller rank has, by rank."""

    def contents() -> Iterator[Records]:
        for start, stop in windows(eligible):
            records = _read(ranked, start, stop)
            found = np.empty(len(records), _CONTENT)
            found["high"], found["low"] = records["content_high"], records["content_low"]
            found["rank"] = np.arange(start, stop)
            yield found

    by_content = sorted_records(
        contents(), ["high", "low", "rank"], context.scratch, "contents", memory
    )
    return sorted_records(exact_copies(by_content), ["rank"], context.scratch, "copies", memory)


def exact_copies(by_content: Iterable[Records]) -> Iterator[Records]:
    """(rank, survivor) of each document that has the content of one of smaller rank.

    ``by_content``: arrays of (high, low, rank), sorted: a group begins with its survivor, and may
    go on in the next array.
    """
    group: tuple[int, int, int] | None = None
    for chunk in by_content:
        if not len(chunk):
            continue
        fresh = np.ones(len(chunk), bool)
        fresh[1:] = (chunk["high"][1:] != chunk["high"][:-1]) | (
            chunk["low"][1:] != chunk["low"][:-1]
        )
        survivor = chunk["rank"][np.maximum.accumulate(np.where(fresh, np.arange(len(chunk)), 0))]
        if group is not None and (int(chunk["high"][0]), int(chunk["low"][0])) == group[:2]:
            goes_on = np.cumsum(fresh) == 1
            survivor[goes_on] = group[2]
            fresh[0] = False
        group = int(chunk["high"][-1]), int(chunk["low"][-1]), int(survivor[-1])
        found = np.empty(int((~fresh).sum()), _COPY)
        found["rank"], found["survivor"] = chunk["rank"][~fresh], survivor[~fresh]
        yield found


def _aligned(chunks: Iterator[Records], rows: int) -> Iterator[tuple[int, int, Records]]:
    """Windows of ``rows`` ranks, each with the records of ``chunks`` (by rank) that lie in it."""
    ahead = np.empty(0, _COPY)
    for start, stop in windows(rows):
        parts = [ahead]
        while not len(parts[-1]) or parts[-1]["rank"][-1] < stop:
            more = next(chunks, None)
            if more is None:
                break
            parts.append(more)
        records = np.concatenate(parts)
        end = int(np.searchsorted(records["rank"], np.uint32(stop)))
        ahead = records[end:]
        yield start, stop, records[:end]


def _write_rows(context: StepContext, ranked: Iterator[Records], total: int) -> None:
    """Write ``ROWS`` out of (row, rank, first) by row; rows without a record were dropped."""
    with ROWS.create(context) as out:
        written = 0

        def drop(until: int) -> None:
            nonlocal written
            while written < until:
                count = min(until - written, WINDOW_ROWS)
                out.add(rank=np.full(count, DROPPED), first=np.zeros(count, np.uint8))
                written += count

        for chunk in ranked:
            # Rows that take part may lie far apart: no more than a window of them is filled in.
            cuts = np.flatnonzero(np.diff(chunk["row"] // WINDOW_ROWS)) + 1
            for part in np.split(chunk, cuts):
                start, stop = int(part["row"][0]), int(part["row"][-1]) + 1
                drop(start)
                rank = np.full(stop - start, DROPPED)
                first = np.zeros(stop - start, np.uint8)
                rank[part["row"] - start] = part["rank"]
                first[part["row"] - start] = part["first"]
                out.add(rank=rank, first=first)
                written = stop
        drop(total)


STEP = Step("order", run)
