"""Images whose header promises more than their data holds, where the decoder does not say so.

Pillow's decoders fill what they did not get: rows of a PNG stay black or clear, blocks of a JPEG
become middle gray. Only an image that ends in such a fill is looked at again, so that nearly all
cost nothing.
"""

from __future__ import annotations

import io
import zlib

from PIL import Image

_PIECE = 1 << 16
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_ADAM7_LAST = (0, 1, 1, 2)
_END_OF_IMAGE = b"\xff\xd9"
_FILLER = b"\x5a" * (1 << 16)
"""Entropy-coded data of nothing in particular; holds no marker."""


def lacks_pixels(image: Image.Image, name: str, data: bytes) -> bool:
    """Whether a decoded file of format ``name`` ends before the pixels that its header promises.

    True is proof. False is none for a JPEG whose missing part happens to look like the fill, and
    for the formats whose decoders complain themselves.
    """
    if name == "png":
        return _ends_in_zeros(image) and _png_falls_short(data)
    if name == "jpeg":
        return _ends_in_gray(image) and _jpeg_takes_more(image, data)
    return False


def _ends_in_zeros(image: Image.Image) -> bool:
    """The last two rows (the last one of an interlaced image's last pass is among them)."""
    width, height = image.size
    rows = [image.crop((0, y, width, y + 1)) for y in range(max(0, height - 2), height)]
    return any(not any(row.tobytes()) for row in rows)


def _png_falls_short(data: bytes) -> bool:
    """Inflate the image data, keeping nothing, up to the bytes that the header asks for."""
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    bits = data[24] * _CHANNELS.get(data[25], 0)
    passes = (*_ADAM7, _ADAM7_LAST) if data[28] else ((0, 0, 1, 1),)
    wanted = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            wanted += rows * (1 + (columns * bits + 7) // 8)
    stream = zlib.decompressobj()
    got, at = 0, 8
    try:
        while at + 8 <= len(data) and got < wanted and not stream.eof:
            length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
            if kind == b"IDAT":
                piece = data[at + 8 : at + 8 + length]
                while piece and got < wanted and not stream.eof:
                    got += len(stream.decompress(piece, _PIECE))
                    piece = stream.unconsumed_tail
            at += 12 + length
        while got < wanted and not stream.eof and (more := stream.decompress(b"", _PIECE)):
            got += len(more)
    except zlib.error:
        return True
    return got < wanted


def _ends_in_gray(image: Image.Image) -> bool:
    """The last pixel, and with it the last block, is what a decoder puts where it has no data."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return last in (128, (128, 128, 128))


def _jpeg_takes_more(image: Image.Image, data: bytes) -> bool:
    """Decode again with data added before the end: only an unfinished image changes."""
    end = data.rfind(_END_OF_IMAGE)
    if end < 0:
        return True
    longer = data[:end] + _FILLER + _END_OF_IMAGE
    with Image.open(io.BytesIO(longer), formats=["JPEG"]) as again:
        again.load()
        return again.size != image.size or again.tobytes() != image.tobytes()
