"""Arrow columns as the buffers and arrays that compiled passes and NumPy take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def text_buffers(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a ``large_string`` column and its n + 1 offsets into them, without a copy.

    The column must have no nulls (``documents.text`` has none).
    """
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    if array.null_count:
        raise ValueError("a text column must have no nulls")
    _, offsets_buffer, data_buffer = array.buffers()
    if offsets_buffer is None or len(array) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.zeros(0, np.uint8)
    return data, offsets


def text_lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Bytes (UTF-8) of each text."""
    lengths = pc.binary_length(column).to_numpy()
    return np.asarray(lengths, dtype=np.int64)


def id_words(column: Any) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """A column of 16-byte ids as (high, low) big-endian halves: compared like the bytes.

    ``column`` is an Arrow array or chunked array of ``binary(16)`` without nulls.
    """
    array = id_bytes(column)
    halves = array.view(">u8").reshape(-1, 2)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)


def id_bytes(column: Any) -> npt.NDArray[np.uint8]:
    """A column of 16-byte ids as ``uint8[n, 16]``."""
    if isinstance(column, pa.ChunkedArray):
        column = (
            pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.binary(16))
        )
    if len(column) == 0:
        return np.zeros((0, 16), np.uint8)
    _, data = column.buffers()
    flat = np.frombuffer(data, np.uint8)
    return flat.reshape(-1, 16)[column.offset : column.offset + len(column)]


def digest_words(column: Any) -> npt.NDArray[np.bytes_]:
    """A column of 32-byte digests as an array that compares like their bytes: ``S32[n]``."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not len(column):
        return np.zeros(0, "S32")
    data = np.frombuffer(column.buffers()[1], "S32")
    return np.asarray(data[column.offset : column.offset + len(column)])


def id_array(rows: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """``uint8[n, 16]`` as an Arrow array of ``binary(16)``; null where ``mask`` is set."""
    data = pa.py_buffer(np.ascontiguousarray(rows).tobytes())
    validity = None
    if mask is not None and mask.any():
        validity = pa.py_buffer(np.packbits(~mask, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.binary(16), len(rows), [validity, data])
