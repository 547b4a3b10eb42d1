"""Arrays over all documents, between the global steps: one raw file a column, read in parts.

A column is little-endian numbers (or 16-byte ids) one after the other and nothing else, so that a
step writes it as it goes, and another reads a range of it, or values here and there, in memory that
does not grow with the corpus.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataflow.journal import Output, Record
from dataflow.tasks import StepContext

ID = np.dtype((np.uint8, 16))
"""An id: a column of them is ``uint8[n, 16]``."""

WINDOW_BYTES = 4 << 20
"""How much of a column is mapped, or held, at a time while values are gathered."""

WINDOW_ROWS = 1 << 18
"""Rows that a walk over whole columns looks at together."""


@dataclass(frozen=True)
class ColumnSet:
    """Equally long columns: the role that their files' roles begin with, and a dtype by name."""

    role: str
    dtypes: Mapping[str, np.dtype[Any]]

    @contextlib.contextmanager
    def create(self, context: StepContext) -> Iterator[ColumnWriter]:
        """Open the files of all columns for writing; they are temporary outputs of the task."""
        with contextlib.ExitStack() as stack:
            sinks = {
                name: stack.enter_context(
                    context.create(
                        f"{self.role}.{name}",
                        context.path(f"work/{context.job.step}", f"{self.role}.{name}"),
                        kind="work",
                        temporary=True,
                    )
                )
                for name in self.dtypes
            }
            yield ColumnWriter(self.dtypes, sinks)

    def open(self, context: StepContext, record: Record) -> Columns:
        """The columns that ``record`` has."""
        return Columns(context, record.outputs, self)

    def written(self, context: StepContext) -> Columns:
        """The columns that this task has written."""
        return Columns(context, context.outputs, self)


class ColumnWriter:
    """Appends rows to all columns of a set at once."""

    def __init__(self, dtypes: Mapping[str, np.dtype[Any]], sinks: Mapping[str, Any]) -> None:
        self._dtypes = dtypes
        self._sinks = sinks

    def add(self, **values: NDArray[Any]) -> None:
        """Append equally long arrays, one a column.

        Raises
        ------
        ValueError
            If columns are missing, too many, or of different lengths.
        """
        if values.keys() != self._dtypes.keys() or len({len(v) for v in values.values()}) > 1:
            found = {name: len(array) for name, array in values.items()}
            raise ValueError(f"found columns {found}, expected {list(self._dtypes)} of one length")
        for name, array in values.items():
            dtype = self._dtypes[name]
            raw = np.ascontiguousarray(array, dtype.base.newbyteorder("<"))
            self._sinks[name].write(raw.reshape(-1).view(np.uint8).data)


class Columns:
    """The columns of a set, for reading."""

    def __init__(
        self, context: StepContext, outputs: Mapping[str, Output], columns: ColumnSet
    ) -> None:
        self._store = context.store
        self._set = columns
        self._outputs = {name: outputs[f"{columns.role}.{name}"] for name in columns.dtypes}

    def __len__(self) -> int:
        name, dtype = next(iter(self._set.dtypes.items()))
        return self._outputs[name].bytes // dtype.itemsize

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows ``start`` to ``stop`` of a column, in memory."""
        dtype = self._set.dtypes[name]
        stop = len(self) if stop is None else stop
        with self._store.open(self._outputs[name].path) as stream:
            stream.seek(start * dtype.itemsize)
            data = stream.read((stop - start) * dtype.itemsize)
        if len(data) != (stop - start) * dtype.itemsize:
            raise ValueError(
                f"{self._outputs[name].path}: found {len(data)} bytes from row {start}, expected"
                f" {stop - start} rows of {dtype.itemsize} bytes"
            )
        return self._values(data, dtype)

    def take(self, name: str, places: NDArray[Any]) -> NDArray[Any]:
        """The rows at ``places`` (any order, repeats allowed), in memory."""
        dtype = self._set.dtypes[name]
        out = np.empty((len(places), *dtype.shape), dtype.base)
        order = np.argsort(places, kind="stable")
        ordered = np.asarray(places)[order].astype(np.int64)
        rows = WINDOW_BYTES // dtype.itemsize
        cuts = np.flatnonzero(np.diff(ordered // rows)) + 1
        for mine in np.split(order, cuts) if len(order) else ():
            first = int(places[mine[0]]) // rows * rows
            here = np.asarray(places)[mine].astype(np.int64) - first
            # Nothing keeps the window: were all of them mapped at once, their pages would add up.
            out[mine] = self._window(name, first, min(len(self), first + rows))[here]
        return out

    def _window(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some rows: mapped where the store is local, so that only pages with a wanted value are
        read."""
        if self._store.local is None:
            return self.read(name, start, stop)
        dtype = self._set.dtypes[name]
        # Windows begin at multiples of WINDOW_BYTES, as mappings must at multiples of a page:
        # the size of a value is a power of two.
        begin, length = start * dtype.itemsize, (stop - start) * dtype.itemsize
        with (self._store.local / self._outputs[name].path).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=begin)
        return self._values(mapped, dtype)

    @staticmethod
    def _values(data: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
        flat = np.frombuffer(data, dtype.base.newbyteorder("<"))
        return flat.reshape(-1, *dtype.shape)


def windows(rows: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive stretches of ``WINDOW_ROWS`` of ``rows`` rows."""
    for start in range(0, rows, WINDOW_ROWS):
        yield start, min(rows, start + WINDOW_ROWS)
