"""Plain arrays in a folder: one file each of little-endian numbers and nothing else, mapped."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import blake3
import numpy as np
import numpy.typing as npt

from mixtures.errors import PlanError

_READ_BYTES = 4 << 20


class ArrayWriter:
    """Appends to one array's file and hashes what it writes."""

    def __init__(self, file: BinaryIO, dtype: npt.DTypeLike) -> None:
        self._file = file
        self._hash = blake3.blake3()
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.length = 0

    def add(self, values: npt.ArrayLike) -> None:
        """Append numbers; they must fit the array's type."""
        data = np.ascontiguousarray(values, self.dtype).tobytes()
        self._hash.update(data)
        self._file.write(data)
        self.length += len(data) // self.dtype.itemsize

    def flush(self) -> None:
        """Let others read what was added."""
        self._file.flush()

    def describe(self) -> dict[str, Any]:
        """The array's entry in the plan's head."""
        return {
            "dtype": self.dtype.str,
            "length": self.length,
            "blake3": self._hash.hexdigest(),
        }


@contextmanager
def create_array(folder: Path, name: str, dtype: npt.DTypeLike) -> Iterator[ArrayWriter]:
    """Write ``folder/name.bin``."""
    with (folder / f"{name}.bin").open("wb") as file:
        yield ArrayWriter(file, dtype)


def map_array(folder: Path, name: str, entry: dict[str, Any]) -> npt.NDArray[Any]:
    """The array of an entry, memory-mapped.

    Raises
    ------
    PlanError
        If the file is absent or of another size.
    """
    path = folder / f"{name}.bin"
    dtype = np.dtype(entry["dtype"])
    expected = entry["length"] * dtype.itemsize
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = -1
    if size != expected:
        found = "no file" if size < 0 else f"{size:,} bytes"
        raise PlanError(
            f"{path}: found {found}, expected {expected:,} bytes; compile the plan again"
        )
    if not expected:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r", shape=(entry["length"],))


def advise(array: npt.NDArray[Any], how: int) -> None:
    """Tell the system how an array of `map_array` is read next: ``mmap.MADV_RANDOM`` here and
    there, so that it reads nothing besides; ``mmap.MADV_SEQUENTIAL`` from end to end."""
    if isinstance(array.base, mmap.mmap):
        array.base.madvise(how)


def check_array(folder: Path, name: str, entry: dict[str, Any]) -> None:
    """Read a whole array and compare its hash.

    Raises
    ------
    PlanError
        If it is not the array that was written.
    """
    path = folder / f"{name}.bin"
    digest = blake3.blake3()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    if digest.hexdigest() != entry["blake3"]:
        raise PlanError(
            f"{path}: found BLAKE3 {digest.hexdigest()[:16]}…, expected {entry['blake3'][:16]}…; "
            "delete the plan's folder and compile it again"
        )
