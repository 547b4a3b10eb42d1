"""Buckets of one MinHash band, by an external sort in fixed-size spilled runs.

Records are (key uint64, rank uint32). Runs that fill the memory budget are sorted and spilled; then
all runs are merged one key range at a time. Only buckets of two or more documents are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels.buckets import group_equal_keys

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
Records = tuple[U64, U32]

# Sorting holds a record (12 bytes), its place in the order (8) and its sorted copy (12); merging a
# range also holds the joined slices.
_BYTES_PER_RECORD = 48
_LEAST_RUN = 64
_NO_KEYS: U64 = np.empty(0, np.uint64)
_NO_RANKS: U32 = np.empty(0, np.uint32)


@dataclass(frozen=True)
class Buckets:
    """Files of one band's buckets of two or more documents.

    ``members``: uint32 ranks, bucket after bucket, ascending within one. ``sizes``: uint32, one a
    bucket. Buckets are in the order of their keys. ``records`` counts all records sorted,
    ``memberships`` those in the buckets kept.
    """

    band: int
    members: Path
    sizes: Path
    records: int
    buckets: int
    memberships: int
    largest: int

    def chunks(self, memory_bytes: int = 64 << 20) -> Iterator[tuple[U32, U32]]:
        """Yield (members, sizes) of consecutive whole buckets, about ``memory_bytes`` at a time."""
        at = 0
        rows = max(1, memory_bytes // 16)
        with self.members.open("rb") as members, self.sizes.open("rb") as sizes:
            while at < self.buckets:
                some = np.fromfile(sizes, np.uint32, rows)
                ends = np.cumsum(some, dtype=np.int64)
                start = 0
                while start < len(some):
                    before = ends[start - 1] if start else 0
                    stop = max(start + 1, int(np.searchsorted(ends, before + rows, "right")))
                    count = int(ends[stop - 1] - before)
                    found = np.fromfile(members, np.uint32, count)
                    if len(found) != count:
                        raise ValueError(
                            f"{self.members}: found {len(found)} members where the sizes say"
                            f" {count}; sort band {self.band} again"
                        )
                    yield found, some[start:stop]
                    start = stop
                at += len(some)
                if not len(some):
                    raise ValueError(
                        f"{self.sizes}: found {at} sizes, expected {self.buckets}; sort band"
                        f" {self.band} again"
                    )


class _Writer:
    """Appends the buckets among sorted records to a band's two files."""

    def __init__(self, band: int, members: Path, sizes: Path, stack: ExitStack) -> None:
        self.band, self.paths = band, (members, sizes)
        self.members = stack.enter_context(members.open("wb"))
        self.sizes = stack.enter_context(sizes.open("wb"))
        self.buckets = self.memberships = self.largest = 0

    def add(self, keys: U64, ranks: U32) -> None:
        """Take records in key order, all those of a key in one call; overwrites ``ranks``."""
        sizes = np.empty(len(keys) // 2, np.uint32)
        groups, members, repeated = group_equal_keys(keys, ranks, sizes)
        self._write(ranks[:members], sizes[:groups], int(repeated))

    def add_bucket(self, ranks: U32) -> None:
        """Take all records of one key."""
        if len(ranks) < 2:
            return
        ranks.sort()
        twice = np.flatnonzero(ranks[1:] == ranks[:-1])
        repeated = int(ranks[twice[0]]) if len(twice) else -1
        self._write(ranks, np.array([len(ranks)], np.uint32), repeated)

    def _write(self, members: U32, sizes: U32, repeated: int) -> None:
        if repeated >= 0:
            raise ValueError(
                f"band {self.band}: found rank {repeated} twice with one key, expected each"
                " document once a band; give the records of each document once"
            )
        # Not ``tofile``: its error does not say that a disk is full.
        self.members.write(members.data)
        self.sizes.write(sizes.data)
        self.buckets += len(sizes)
        self.memberships += len(members)
        self.largest = max(self.largest, int(sizes.max(initial=0)))


def sort_band(
    band: int, runs: Iterable[Records], scratch: str | Path, memory_bytes: int = 128 << 20
) -> Buckets:
    """Sort one band's records into buckets; bands are independent tasks.

    ``runs`` yields (keys uint64[k], ranks uint32[k]) in any order and size; a document has one
    record. Writes ``band-NNN.members`` and ``band-NNN.sizes`` in the folder ``scratch``. About
    ``memory_bytes`` are held (besides what ``runs`` yields at a time and one largest bucket);
    the result does not depend on it, nor on how ``runs`` is cut.
    Raises ``ValueError`` for arrays of different lengths and for a rank seen twice in a bucket.
    """
    folder = Path(scratch)
    folder.mkdir(parents=True, exist_ok=True)
    capacity = max(_LEAST_RUN, memory_bytes // _BYTES_PER_RECORD)
    name = f"band-{band:03d}"
    members, sizes = folder / f"{name}.members", folder / f"{name}.sizes"
    spilled: list[tuple[Path, Path]] = []
    records = 0
    with ExitStack() as stack:
        writer = _Writer(band, members, sizes, stack)
        last: Records = (_NO_KEYS, _NO_RANKS)
        for keys, ranks in _full_runs(band, runs, capacity):
            if len(last[0]):
                spilled.append(_spill(last, folder / f"{name}.run-{len(spilled):05d}"))
            last = _sorted(keys, ranks)
            records += len(keys)
        if not spilled:
            writer.add(*last)
        else:
            spilled.append(_spill(last, folder / f"{name}.run-{len(spilled):05d}"))
            del last
            _merge(spilled, capacity, writer)
    for paths in spilled:
        for path in paths:
            path.unlink()
    return Buckets(
        band, members, sizes, records, writer.buckets, writer.memberships, writer.largest
    )


def candidate_ranks(buckets: Sequence[Buckets], n: int) -> U32:
    """Ranks that share a bucket with another document in any band, ascending.

    Only these need shingle sets. ``n`` is the number of ranks; holds n bytes.
    """
    seen = np.zeros(n, np.bool_)
    for band in buckets:
        for members, _ in band.chunks():
            if int(members.max()) >= n:
                raise ValueError(
                    f"band {band.band}: found rank {int(members.max())}, expected ranks below {n}"
                )
            seen[members] = True
    return np.flatnonzero(seen).astype(np.uint32)


def _full_runs(band: int, runs: Iterable[Records], capacity: int) -> Iterator[Records]:
    """Cut the stream into runs of exactly ``capacity`` records and a rest, in reused buffers."""
    all_keys, all_ranks = np.empty(capacity, np.uint64), np.empty(capacity, np.uint32)
    filled = 0
    for keys, ranks in runs:
        if keys.shape != ranks.shape or keys.ndim != 1:
            raise ValueError(
                f"band {band}: found keys of shape {keys.shape} and ranks of shape {ranks.shape},"
                " expected two arrays of one length"
            )
        start = 0
        while start < len(keys):
            stop = min(len(keys), start + capacity - filled)
            end = filled + stop - start
            all_keys[filled:end] = keys[start:stop]
            all_ranks[filled:end] = ranks[start:stop]
            start, filled = stop, end
            if filled == capacity:
                yield all_keys, all_ranks
                filled = 0
    if filled:
        yield all_keys[:filled], all_ranks[:filled]


def _sorted(keys: U64, ranks: U32) -> Records:
    # The order among equal keys is settled where buckets are formed.
    order = np.argsort(keys)
    return keys[order], ranks[order]


def _spill(records: Records, stem: Path) -> tuple[Path, Path]:
    paths = stem.with_suffix(stem.suffix + ".keys"), stem.with_suffix(stem.suffix + ".ranks")
    paths[0].write_bytes(records[0].data)
    paths[1].write_bytes(records[1].data)
    return paths


class _Run:
    """A spilled run, read from the front; read, not mapped: mapped pages count as memory held."""

    def __init__(self, paths: tuple[Path, Path], stack: ExitStack) -> None:
        self.files = [stack.enter_context(path.open("rb")) for path in paths]
        self.keys, self.ranks = _NO_KEYS, _NO_RANKS

    def fill(self, count: int) -> int:
        """Have ``count`` records at hand, or all that are left; returns how many there are."""
        missing = count - len(self.keys)
        if missing > 0:
            keys = np.fromfile(self.files[0], np.uint64, missing)
            ranks = np.fromfile(self.files[1], np.uint32, missing)
            self.keys = np.concatenate([self.keys, keys])
            self.ranks = np.concatenate([self.ranks, ranks])
        return len(self.keys)

    def take(self, limit: U64 | None, side: Literal["left", "right"]) -> Records:
        """The records at hand with keys below ``limit`` (``right``: or equal); None: all."""
        end = len(self.keys) if limit is None else int(np.searchsorted(self.keys, limit, side))
        taken = self.keys[:end], self.ranks[:end]
        self.keys, self.ranks = self.keys[end:], self.ranks[end:]
        return taken


def _merge(spilled: list[tuple[Path, Path]], capacity: int, writer: _Writer) -> None:
    """Merge sorted runs by key ranges of at most ``capacity`` records, or of a single key."""
    share = max(1, capacity // len(spilled))
    with ExitStack() as stack:
        runs = [_Run(paths, stack) for paths in spilled]
        while sum([run.fill(share + 1) for run in runs]):
            # A run with more than its share at hand may have more below that key: go no further.
            ahead = [run.keys[share] for run in runs if len(run.keys) > share]
            limit = min(ahead, default=None)
            parts = [run.take(limit, "left") for run in runs]
            if any(len(keys) for keys, _ in parts):
                keys = np.concatenate([keys for keys, _ in parts])
                ranks = np.concatenate([ranks for _, ranks in parts])
                del parts
                writer.add(*_sorted(keys, ranks))
            else:
                # The smallest key of all fills a run's share: take its bucket whole.
                writer.add_bucket(np.concatenate([_ranks_of(run, limit, share) for run in runs]))


def _ranks_of(run: _Run, key: U64 | None, share: int) -> U32:
    """All ranks of the smallest key, read on for as long as it goes on."""
    parts = [run.take(key, "right")[1]]
    while not len(run.keys) and run.fill(share + 1):
        parts.append(run.take(key, "right")[1])
    return np.concatenate(parts)
