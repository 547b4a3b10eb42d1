"""Sorting more records than memory should hold: sorted runs are spilled, then merged by key ranges.

Records are structured NumPy arrays. The global steps are made of it: who comes before whom, who has
the same content, which row has which rank are each one sort and one walk over its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]
Key = tuple[int | float, ...]

LEAST_RUN = 64
_OVERHEAD = 24
"""Bytes a record while it is sorted, beside two copies of it: its place, and a key of it."""


def sorted_records(
    batches: Iterable[Records],
    fields: Sequence[str],
    scratch: Path,
    name: str,
    memory_bytes: int,
) -> Iterator[Records]:
    """Yield all records in ascending order of ``fields``, in arrays of bounded length.

    Parameters
    ----------
    batches : structured arrays of one dtype, of any lengths
    fields : numbers without NaN that tell any two records apart, the first one foremost
    scratch : a folder for temporary files, gone when the last array was taken
    name : of the files; two sorts that are under way at once have different ones
    memory_bytes : held, about, besides what ``batches`` yields at a time. It changes how the result
        is cut and nothing else.

    Raises
    ------
    ValueError
        If ``fields`` do not tell records apart, where that would keep the merge from going on.
    """
    runs: list[Path] = []
    last: Records | None = None
    for run in _full_runs(batches, memory_bytes):
        if last is not None:
            runs.append(_spill(last, scratch / f"{name}.run-{len(runs):05d}"))
            last = None  # or there would be three copies while the next run is sorted
        last = _sorted(run, fields)
    if last is None:
        return
    if not runs:
        yield last
        return
    runs.append(_spill(last, scratch / f"{name}.run-{len(runs):05d}"))
    dtype = last.dtype
    del last, run
    opened = [_Run(path, dtype, fields) for path in runs]
    yield from _merge(opened, fields, _capacity(dtype, memory_bytes))
    for path in runs:
        path.unlink()


def _capacity(dtype: np.dtype[np.void], memory_bytes: int) -> int:
    """How many records are sorted at a time."""
    return max(LEAST_RUN, memory_bytes // (2 * dtype.itemsize + _OVERHEAD))


def _full_runs(batches: Iterable[Records], memory_bytes: int) -> Iterator[Records]:
    """Cut the stream into runs of full capacity and a rest, in one buffer that is used again."""
    buffer: Records | None = None
    filled = 0
    for batch in batches:
        if buffer is None:
            # Pages of it that nothing is written to take no memory.
            buffer = np.empty(_capacity(batch.dtype, memory_bytes), batch.dtype)
        start = 0
        while start < len(batch):
            stop = min(len(batch), start + len(buffer) - filled)
            buffer[filled : filled + stop - start] = batch[start:stop]
            start, filled = stop, filled + stop - start
            if filled == len(buffer):
                yield buffer
                filled = 0
    if buffer is not None and filled:
        yield buffer[:filled]


def _sorted(records: Records, fields: Sequence[str]) -> Records:
    # lexsort takes its last key first.
    return records[np.lexsort([records[field] for field in reversed(fields)])]


def _spill(records: Records, path: Path) -> Path:
    try:
        with path.open("wb") as file:
            # Not ``tofile``: its error does not say that a disk is full.
            file.write(np.ascontiguousarray(records).view(np.uint8).data)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror} while spilling {records.nbytes:,} bytes of a sort; make room there, "
            "or name another folder for scratch: the run's own, or TMPDIR where the run is remote",
            str(path),
        ) from error
    return path


class _Run:
    """A spilled run, read from the front. Its file is open only while it is read: a merge of
    thousands of runs would have too many."""

    def __init__(self, path: Path, dtype: np.dtype[np.void], fields: Sequence[str]) -> None:
        self._path = path
        self._fields = fields
        self._offset = 0
        self._unread = path.stat().st_size // dtype.itemsize
        self.head: Records = np.empty(0, dtype)
        self.first = self.key(0)

    @property
    def left(self) -> int:
        """Records that were not taken."""
        return len(self.head) + self._unread

    def key(self, index: int) -> Key:
        """The key of the record at ``index`` of those left."""
        ahead = index - len(self.head)
        record = self.head[index] if ahead < 0 else self._read(1, skip=ahead)[0]
        return tuple(record[field].item() for field in self._fields)

    def have(self, count: int) -> None:
        """Hold ``count`` records in memory, or all that are left."""
        count = min(count, self.left)
        missing = count - len(self.head)
        size = self.head.dtype.itemsize
        if missing > 0:
            self.head = np.concatenate([self.head, self._read(missing)])
        else:
            self.head = self.head[:count].copy()
        self._offset += missing * size
        self._unread -= missing

    def take(self, end: int) -> Records:
        """The first ``end`` of the records at hand."""
        taken, self.head = self.head[:end], self.head[end:]
        return taken

    def _read(self, count: int, skip: int = 0) -> Records:
        dtype = self.head.dtype
        # Read, not mapped: mapped pages count as memory held.
        offset = self._offset + skip * dtype.itemsize
        found = np.fromfile(self._path, dtype, count, offset=offset)
        if len(found) != count:
            raise ValueError(f"{self._path}: found {len(found)} records, expected {count}")
        return found


def _merge(runs: list[_Run], fields: Sequence[str], capacity: int) -> Iterator[Records]:
    """Merge sorted runs by key ranges of at most ``capacity`` records.

    Only runs that overlap share the capacity: those of records that came in order follow each
    other, and each is then read in one piece.
    """
    waiting = sorted(runs, key=lambda run: run.first, reverse=True)
    active: list[_Run] = []
    while active or waiting:
        if not active:
            active.append(waiting.pop())
        share = max(1, capacity // len(active))
        reached = min(run.key(min(share, run.left - 1)) for run in active)
        while waiting and waiting[-1].first <= reached:
            active.append(waiting.pop())
        share = max(1, capacity // len(active))
        for run in active:
            run.have(share + 1)
        # A run with more than its share at hand may have more below that key: go no further.
        ahead = [run.key(share) for run in active if len(run.head) > share]
        limit = min(ahead + [run.first for run in waiting[-1:]], default=None)
        parts = [
            run.take(len(run.head) if limit is None else _below(run.head, fields, limit))
            for run in active
        ]
        if not any(len(part) for part in parts):
            raise ValueError(f"found more than {share} records with one key of {list(fields)}")
        yield _sorted(np.concatenate(parts), fields)
        active = [run for run in active if run.left]


def _below(records: Records, fields: Sequence[str], key: Key) -> int:
    """How many of the sorted ``records`` come before ``key``."""
    low, high = 0, len(records)
    for field, value in zip(fields, key, strict=True):
        column = records[field][low:high]
        exact = column.dtype.type(value)
        low, high = (
            low + int(np.searchsorted(column, exact, "left")),
            low + int(np.searchsorted(column, exact, "right")),
        )
    return low
