"""From stored images to tiles: what a process beside a trainer does (`trainer.data.decoders`).

It imports no torch and holds no GPU. On its standard input come requests, on its standard output
answers, each a length of 8 bytes, little-endian, and a pickle; behind an answer come the bytes of
its tiles. It ends with its standard input, so that it outlives no trainer.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from vl_data.decode import decode
from vl_data.pixels import tile_bytes
from vl_data.refusals import ImageRefused
from vl_data.tiling import Tiling, plan

U8 = npt.NDArray[np.uint8]
LENGTH = struct.Struct("<Q")
OPEN_FILES = 64


class Ask(NamedTuple):
    """An image: ``width`` and ``height`` as its index says, and ``size`` bytes that lie from
    ``offset`` on in a content shard: in the file ``path``, or, where that is "", in no local one.
    Then they are fetched by the number of the ``shard`` and become ``data``."""

    width: int
    height: int
    size: int
    offset: int
    path: str
    shard: int
    data: bytes | None = None


def tiles_of(data: bytes, width: int, height: int, tiling: Tiling) -> U8 | str:
    """The tiles of an image, uint8 [tiles, s, s, 3]; or what is wrong, to follow its name."""
    try:
        rgb = decode(data)
    except ImageRefused as error:
        return f": {error.reason}, {error.detail}"
    if rgb.shape[:2] != (height, width):
        return (
            f": found {rgb.shape[1]} x {rgb.shape[0]} pixels, expected {width} x {height} as its "
            "index says"
        )
    return tile_bytes(rgb, plan(width, height, tiling), tiling)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end."""
    files: dict[str, int] = {}
    while (request := read_exactly(requests, LENGTH.size)) is not None:
        asks, tiling = _loaded(requests, request)
        found = [_answer(ask, tiling, files) for ask in asks]
        head = pickle.dumps([one if isinstance(one, str) else len(one) for one in found])
        answers.write(LENGTH.pack(len(head)) + head)
        for one in found:
            if not isinstance(one, str):
                answers.write(one.reshape(-1).data)
        answers.flush()


def write_request(stream: BinaryIO, asks: Sequence[Ask], tiling: Tiling) -> None:
    """Ask for images."""
    request = pickle.dumps((list(asks), tiling))
    stream.write(LENGTH.pack(len(request)))
    stream.write(request)
    stream.flush()


def read_answer(stream: BinaryIO, side: int) -> list[U8 | str]:
    """The tiles of each image asked for, or what is wrong with it.

    Parameters
    ----------
    side : of a tile, in pixels

    Raises
    ------
    EOFError
        If the process ended before it had answered.
    """
    length = read_exactly(stream, LENGTH.size)
    if length is None:
        raise EOFError
    told: list[int | str] = _loaded(stream, length)
    found: list[U8 | str] = []
    for one in told:
        if isinstance(one, str):
            found.append(one)
            continue
        tiles = np.empty((one, side, side, 3), np.uint8)
        _fill(stream, tiles.reshape(-1).data)
        found.append(tiles)
    return found


def read_exactly(stream: BinaryIO, size: int) -> bytes | None:
    """``size`` bytes; None where the stream is at its end.

    Raises
    ------
    EOFError
        If it ends within them.
    """
    first = stream.read(1)
    return None if not first else first + _all_of(stream, size - 1)


def _loaded(stream: BinaryIO, length: bytes) -> Any:
    data = _all_of(stream, LENGTH.unpack(length)[0])
    return pickle.loads(data)  # noqa: S301 - from a process and its own child


def _all_of(stream: BinaryIO, size: int) -> bytearray:
    found = bytearray(size)
    _fill(stream, memoryview(found))
    return found


def _fill(stream: BinaryIO, into: memoryview) -> None:
    at = 0
    while at < len(into):
        count = stream.readinto(into[at:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        at += count


def _answer(ask: Ask, tiling: Tiling, files: dict[str, int]) -> U8 | str:
    data = ask.data
    if data is None:
        try:
            data = os.pread(_opened(ask.path, files), ask.size, ask.offset)
        except OSError as error:
            return f" cannot be read ({error})"
        if len(data) != ask.size:
            return f": found {len(data)} bytes at {ask.offset}, expected {ask.size}"
    return tiles_of(data, ask.width, ask.height, tiling)


def _opened(path: str, files: dict[str, int]) -> int:
    if path not in files:
        if len(files) >= OPEN_FILES:
            os.close(files.pop(next(iter(files))))
        files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return files[path]


if __name__ == "__main__":
    # What a library prints is not to come between answers.
    with os.fdopen(os.dup(1), "wb") as _answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, _answers)
