"""Exact duplicates by content id: of equal documents the one of smallest rank survives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
IdRecords = tuple[U64, U32]

_PREFIX_BITS = 16
# Ids and rank (20 bytes), the order (8), the copy in order (20), and the same of repeated ids.
_BYTES_PER_RECORD = 96


@dataclass(frozen=True)
class ExactDuplicates:
    """``removed`` uint32 ascending, beside it the rank of each one's ``survivor``."""

    removed: U32
    survivor: U32


def id_words(ids: pa.Array | pa.ChunkedArray) -> U64:
    """16-byte ids (Arrow ``fixed_size_binary(16)``) as uint64[n, 2], big-endian halves.

    Numeric order of the rows is the byte order of the ids. Raises ``ValueError`` for nulls or
    another type.
    """
    if ids.type != pa.binary(16):
        raise ValueError(f"ids: found type {ids.type}, expected fixed_size_binary[16]")
    if ids.null_count:
        raise ValueError(f"ids: found {ids.null_count} nulls, expected none")
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    out = np.empty((len(ids), 2), np.uint64)
    at = 0
    for chunk in chunks:
        raw = np.frombuffer(chunk.buffers()[1], np.uint8) if len(chunk) else np.empty(0, np.uint8)
        rows = raw[16 * chunk.offset : 16 * (chunk.offset + len(chunk))]
        out[at : at + len(chunk)] = rows.view(">u8").reshape(-1, 2)
        at += len(chunk)
    return out


def exact_duplicates(
    runs: Callable[[], Iterable[IdRecords]], memory_bytes: int = 128 << 20
) -> ExactDuplicates:
    """Find all documents whose id a document of smaller rank has.

    ``runs()`` yields (ids uint64[k, 2] as from :func:`id_words`, ranks uint32[k]) and is called
    once and then once a pass: each pass takes the ids of a range of 16-bit prefixes that fits in
    ``memory_bytes``. The result (8 bytes a removed document) comes on top. Neither the budget nor
    the order and cut of the records changes it.
    """
    census = np.zeros(1 << _PREFIX_BITS, np.int64)
    for ids, ranks in runs():
        if ids.shape != (len(ranks), 2):
            raise ValueError(
                f"found ids of shape {ids.shape} for {len(ranks)} ranks, expected"
                f" ({len(ranks)}, 2); make them with id_words"
            )
        census += np.bincount(_prefixes(ids), minlength=len(census))
    found = [
        _duplicates_of_range(runs(), first, last, int(census[first:last].sum()))
        for first, last in _ranges(census, max(1, memory_bytes // _BYTES_PER_RECORD))
    ]
    empty = np.empty(0, np.uint32)
    removed = np.concatenate([empty, *(pair[0] for pair in found)])
    survivor = np.concatenate([empty, *(pair[1] for pair in found)])
    order = np.argsort(removed)
    return ExactDuplicates(removed[order], survivor[order])


def _prefixes(ids: U64) -> NDArray[np.int64]:
    shifted: NDArray[np.int64] = (ids[:, 0] >> np.uint64(64 - _PREFIX_BITS)).astype(np.int64)
    return shifted


def _ranges(census: NDArray[np.int64], capacity: int) -> Iterator[tuple[int, int]]:
    """Consecutive prefix ranges of at most ``capacity`` records, or of one prefix."""
    ends = np.cumsum(census)
    first = 0
    while first < len(census) and ends[-1] > (before := ends[first - 1] if first else 0):
        last = max(first + 1, int(np.searchsorted(ends, before + capacity, "right")))
        yield first, last
        first = last


def _duplicates_of_range(
    runs: Iterable[IdRecords], first: int, last: int, count: int
) -> tuple[U32, U32]:
    all_ids, all_ranks = np.empty((count, 2), np.uint64), np.empty(count, np.uint32)
    at = 0
    for ids, ranks in runs:
        prefix = _prefixes(ids)
        here = (prefix >= first) & (prefix < last)
        end = at + int(np.count_nonzero(here))
        all_ids[at:end], all_ranks[at:end] = ids[here], ranks[here]
        at = end
    # Most ids are unique already in their first half: only the others need the full comparison.
    order = np.argsort(all_ids[:, 0])
    high = all_ids[order, 0]
    same = high[1:] == high[:-1]
    repeated = np.zeros(count, np.bool_)
    repeated[1:] |= same
    repeated[:-1] |= same
    order = order[repeated]
    ids, ranks = all_ids[order], all_ranks[order]
    order = np.lexsort((ranks, ids[:, 1], ids[:, 0]))
    ids, ranks = ids[order], ranks[order]
    if not len(ranks):
        return ranks, ranks
    leads = np.ones(len(ranks), np.bool_)
    leads[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    survivors = ranks[leads][np.cumsum(leads) - 1]
    return ranks[~leads], survivors[~leads]
