"""NumPy's ``.npy`` format 1.0, with a header of fixed size and spelling.

NumPy may spell its own header differently from version to version; shards must not change with it.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow.shards.errors import ShardError

HEADER = 128
"""Bytes before the first element."""


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The 128 bytes that precede an array in C order."""
    text = (
        f"{{'descr': '{dtype.newbyteorder('<').str}', 'fortran_order': False, 'shape': {shape}, }}"
    )
    return (
        b"\x93NUMPY\x01\x00"
        + (HEADER - 10).to_bytes(2, "little")
        + (text.ljust(HEADER - 11).encode() + b"\n")
    )


def to_npy(array: npt.NDArray[Any]) -> tuple[bytes, memoryview | bytes]:
    """Header and data of an array, little-endian, in C order."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return npy_header(little.dtype, little.shape), little.data.cast("B") if little.size else b""


def from_npy(data: bytes, where: str) -> tuple[npt.NDArray[Any], int]:
    """The array in a ``.npy`` file, without copying, and the offset of its first element.

    Raises
    ------
    ShardError
        If the bytes are not one whole array of plain numbers.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"format {version}, expected (1, 0)")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        if fortran_order or dtype.hasobject:
            raise ValueError(f"an array of {dtype} in Fortran order or of objects")
        start = stream.tell()
        if len(data) - start != int(np.prod(shape)) * dtype.itemsize:
            raise ValueError(f"{len(data) - start} bytes of data for shape {shape} of {dtype}")
        return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape), start
    except ValueError as error:
        raise ShardError(f"{where}: not a sound .npy array: {error}") from error
