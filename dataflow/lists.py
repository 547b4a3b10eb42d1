"""List columns of Arrow tables as flat arrays with offsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def list_array(column: Any) -> pa.ListArray:
    """A list column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def flat_list(column: Any) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The elements of a list column without nulls, and n + 1 offsets into them from 0."""
    lists = list_array(column)
    offsets = np.asarray(lists.offsets, np.int64)
    return lists.flatten(), offsets - offsets[0]


def empty_lists(rows: int, kind: pa.DataType) -> pa.ListArray:
    """A list column in which every list is empty."""
    return list_of(pa.array([], kind.value_type), np.zeros(rows + 1, np.int64), kind)


def list_of(elements: pa.Array, offsets: npt.NDArray[np.int64], kind: pa.DataType) -> pa.ListArray:
    """The inverse of ``flat_list``, as a list column of type ``kind``."""
    starts = pa.array(offsets.astype(np.int32))
    return pa.ListArray.from_arrays(starts, elements.cast(kind.value_type), type=kind)


def list_sums(column: Any, field: str) -> npt.NDArray[np.int64]:
    """The sum of an integer field over each row of a column of lists of structs."""
    elements, offsets = flat_list(column)
    values = np.asarray(elements.field(field) if len(elements) else [], np.int64)
    totals = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(totals[offsets[1:]] - totals[offsets[:-1]])
