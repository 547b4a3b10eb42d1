"""Image files of all kinds, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]

ENCODERS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "gif": "GIF",
    "webp": "WEBP",
    "tiff": "TIFF",
    "bmp": "BMP",
    "avif": "AVIF",
    "jp2": "JPEG2000",
}


def pixels(width: int, height: int, seed: int = 0, cells: int = 8) -> U8:
    """A smooth picture uint8[height, width, 3] of some colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(values: Any, name: str, **options: Any) -> bytes:
    """An array or Pillow image as a file of a format."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    out = io.BytesIO()
    image.save(out, ENCODERS[name], **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, raw: bytes, interlaced: bool = False, *more: bytes) -> bytes:
    """A PNG of 8-bit RGB whose header and rows need not agree."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, int(interlaced))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *more,
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        )
    )


def png_rows(width: int, rows: int) -> bytes:
    """Rows for ``png``: one colour, no filter."""
    return (b"\0" + bytes([200, 10, 10]) * width) * rows


def adam7(values: U8, passes: int = 7) -> bytes:
    """The rows of an interlaced ``png``, of the first passes only (PNG specification, 8.2)."""
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = []
    for top, left, down, across in (*steps, (1, 0, 2, 1))[:passes]:
        rows += [b"\0" + row.tobytes() for row in values[top::down, left::across]]
    return b"".join(rows)


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF of many frames, each of one pixel but for the first; made without encoding any."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    first = encode(Image.new("P", (width, height), 1), "gif")
    start = first.index(b"\x2c", 13)
    body = first[start:-1]
    dot = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + screen + body + dot * (frames - 1) + b"\x3b"


def jpeg_of_height(data: bytes, height: int) -> bytes:
    """The JPEG with another height in its header."""
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">H", height) + data[start + 7 :]
