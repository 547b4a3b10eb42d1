"""Shingle sets of candidate documents in flat, memory-mapped files.

A file: all sets' uint64 elements, their parity bitmaps (``kernels.hash_sets``), uint32 lengths,
uint32 ranks, a footer. Native byte order: these are scratch files of one machine, never part of a
run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.hash_sets import fill_bitmaps, intersection_size, locate_bitmaps
from kernels.text.minhash_batch import shingle_sets

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
WordBatch = tuple[U32, U64, I64]

_FOOTER = struct.Struct("=8sqqqq")
_MAGIC = b"LEYSHG1\n"


@dataclass(frozen=True)
class ShingleFile:
    """A file written by :func:`write_shingles`: its sets and their elements, counted."""

    path: Path
    documents: int
    elements: int


class _Part(NamedTuple):
    """Sets that lie one after the other, and their bitmaps likewise."""

    ranks: U32
    lengths: U32
    values: U64
    bitmap_starts: I64
    bitmaps: U64


class SetTable(NamedTuple):
    """Byte addresses of sets and of their bitmaps; lengths in elements and in 64-bit words."""

    addresses: U64
    lengths: U32
    bitmaps: U64
    bitmap_words: U32

    def take(self, places: I64) -> SetTable:
        """The rows at ``places``."""
        a, n, b, w = self
        return SetTable(a[places], n[places], b[places], w[places])

    def join(self, others: Iterable[SetTable]) -> SetTable:
        """This table's rows, then those of the others."""
        a, n, b, w = zip(self, *others, strict=True)
        return SetTable(np.concatenate(a), np.concatenate(n), np.concatenate(b), np.concatenate(w))


_EMPTY_TABLE = SetTable(
    np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint64), np.empty(0, np.uint32)
)


def write_shingles(path: str | Path, batches: Iterable[WordBatch], ngram: int) -> ShingleFile:
    """Write the shingle sets of documents given as word hashes; partitions are independent tasks.

    A batch is (ranks uint32[k], word hashes uint64[w], offsets int64[k + 1]); every rank appears in
    one batch of one file. The sets are of 64-bit hashes of ``ngram`` words
    (:func:`kernels.text.minhash.shingle_set`). About 9 bytes a shingle on disk; holds one batch,
    half a byte a shingle and 8 bytes a document.
    """
    target = Path(path)
    parts: list[_Part] = []
    elements = 0
    with target.open("wb") as file:
        for ranks, words, offsets in batches:
            part = _part(ranks, words, offsets, ngram, str(target))
            file.write(part.values.data)
            elements += len(part.values)
            parts.append(part._replace(values=part.values[:0]))
        words_of_bitmaps = _write_all(file, [part.bitmaps for part in parts])
        documents = _write_all(file, [part.lengths for part in parts])
        _write_all(file, [part.ranks for part in parts])
        file.write(_FOOTER.pack(_MAGIC, ngram, documents, elements, words_of_bitmaps))
    return ShingleFile(target, documents, elements)


class ShingleSets:
    """Sorted sets of 64-bit shingle hashes by rank; 28 bytes a document besides the sets.

    Sets stay where they are, in arrays or mapped files: only their addresses are kept.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        tables = [_table(part) for part in parts]
        unordered = np.concatenate([np.empty(0, np.uint32), *(part.ranks for part in parts)])
        order = np.argsort(unordered)
        self.ranks: U32 = unordered[order]
        self._table = _EMPTY_TABLE.join(tables).take(order)
        self._parts = tuple(parts)  # keeps the memory behind the addresses alive
        twice = np.flatnonzero(self.ranks[1:] == self.ranks[:-1])
        if len(twice):
            raise ValueError(
                f"shingle sets: found rank {self.ranks[twice[0]]} twice, expected each once"
            )

    def __len__(self) -> int:
        return len(self.ranks)

    @classmethod
    def open(cls, paths: Iterable[str | Path]) -> ShingleSets:
        """Map files of :func:`write_shingles`. Raises ``ValueError`` for an incomplete file."""
        return cls([_map(Path(path)) for path in paths])

    @classmethod
    def from_words(cls, ranks: U32, words: U64, offsets: I64, ngram: int) -> ShingleSets:
        """Sets in memory of documents given as word hashes, as in :func:`write_shingles`."""
        return cls([_part(ranks, words, offsets, ngram, "shingle sets")])

    @classmethod
    def from_sets(cls, sets: Sequence[Iterable[int]]) -> ShingleSets:
        """Sets in memory of 64-bit unsigned integers; set ``i`` is that of rank ``i``."""
        ordered = [sorted(set(elements)) for elements in sets]
        values = np.array([x for elements in ordered for x in elements], np.uint64)
        lengths = np.array([len(elements) for elements in ordered], np.uint32)
        return cls([_with_bitmaps(np.arange(len(ordered), dtype=np.uint32), lengths, values)])

    def locate(self, ranks: U32) -> SetTable:
        """Where the sets of ``ranks`` and their bitmaps lie; valid while ``self`` lives.

        Raises ``ValueError`` for a rank without a set.
        """
        places = np.searchsorted(self.ranks, ranks)
        found = np.zeros(len(ranks), np.bool_)
        inside = places < len(self.ranks)
        found[inside] = self.ranks[places[inside]] == ranks[inside]
        if not found.all():
            missing = ranks[~found]
            raise ValueError(
                f"shingle sets: found none for {len(missing)} of {len(ranks)} candidates (first:"
                f" rank {missing[0]}); write the sets of every rank of candidate_ranks"
            )
        return self._table.take(places)

    def get(self, rank: int) -> U64:
        """The set of one document, uint64 ascending; a copy."""
        table = self.locate(np.array([rank], np.uint32))
        for part in self._parts:
            start = (int(table.addresses[0]) - part.values.ctypes.data) // 8
            if 0 <= start < len(part.values):
                return np.array(part.values[start : start + int(table.lengths[0])])
        return np.empty(0, np.uint64)  # an empty set may lie at the end of a part

    def overlap(self, left: int, right: int) -> tuple[int, int]:
        """Sizes of the intersection and of the union of two documents' sets."""
        a, b = self.get(left), self.get(right)
        common = int(intersection_size(a, b, 0))
        return common, len(a) + len(b) - common


def _part(ranks: U32, words: U64, offsets: I64, ngram: int, name: str) -> _Part:
    if len(offsets) != len(ranks) + 1:
        raise ValueError(
            f"{name}: found a batch of {len(ranks)} ranks with {len(offsets)} offsets, expected"
            " one offset more than ranks"
        )
    values, lengths = np.empty(len(words), np.uint64), np.empty(len(ranks), np.uint32)
    count = shingle_sets(words, offsets, ngram, values, lengths)
    return _with_bitmaps(ranks.astype(np.uint32), lengths, values[:count])


def _with_bitmaps(ranks: U32, lengths: U32, values: U64) -> _Part:
    starts = np.empty(len(lengths) + 1, np.int64)
    locate_bitmaps(lengths, starts)
    bitmaps = np.empty(int(starts[-1]), np.uint64)
    fill_bitmaps(values, lengths, starts, bitmaps)
    return _Part(ranks, lengths, values, starts, bitmaps)


def _table(part: _Part) -> SetTable:
    starts = np.cumsum(part.lengths, dtype=np.int64) - part.lengths
    return SetTable(
        _addresses(part.values, starts),
        part.lengths,
        _addresses(part.bitmaps, part.bitmap_starts[:-1]),
        np.diff(part.bitmap_starts).astype(np.uint32),
    )


def _addresses(array: U64, starts: I64) -> U64:
    found: U64 = np.uint64(array.ctypes.data) + np.uint64(8) * starts.astype(np.uint64)
    return found


def _write_all(file: BinaryIO, arrays: Iterable[U32 | U64]) -> int:
    elements = 0
    for array in arrays:
        file.write(array.data)
        elements += len(array)
    return elements


def _map(path: Path) -> _Part:
    complaint = f"{path}: expected a shingle file of write_shingles, found"
    size = path.stat().st_size
    if size < _FOOTER.size:
        raise ValueError(f"{complaint} {size} bytes; write it again")
    raw = np.asarray(np.memmap(path, np.uint8, "r"))
    magic, _, documents, elements, words = _FOOTER.unpack(raw[size - _FOOTER.size :].tobytes())
    ends = np.cumsum([8 * elements, 8 * words, 4 * documents, 4 * documents])
    if magic != _MAGIC or size != int(ends[-1]) + _FOOTER.size:
        raise ValueError(f"{complaint} {size} bytes that end in {magic!r}; write it again")
    values, bitmaps, lengths, ranks = np.split(raw[: ends[-1]], ends[:-1])
    lengths = np.array(lengths.view(np.uint32))
    starts = np.empty(documents + 1, np.int64)
    locate_bitmaps(lengths, starts)
    if int(starts[-1]) != words:
        raise ValueError(f"{complaint} {words} words of bitmaps, not {starts[-1]}; write it again")
    return _Part(
        np.array(ranks.view(np.uint32)),
        lengths,
        values.view(np.uint64),
        starts,
        bitmaps.view(np.uint64),
    )
