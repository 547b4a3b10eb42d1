"""How many frames or pages a file has, without decoding any: counted, and only up to a limit."""

from __future__ import annotations

import struct

from PIL import Image


def count_frames(image: Image.Image, name: str, data: bytes, limit: int) -> int:
    """Frames of an animation, pages of a TIFF, 1 for others; ``limit`` + 1 where there are more.

    ``image`` is the opened file of format ``name``. WebP, AVIF and animated PNG say it in their
    headers. A GIF and a TIFF are walked here: Pillow would go through all of them.
    """
    if name == "gif":
        return _gif_frames(data, limit)
    if name == "tiff":
        return _tiff_pages(data, limit)
    if name in ("webp", "avif", "png"):
        return min(max(1, int(getattr(image, "n_frames", 1))), limit + 1)
    return 1


def _gif_frames(data: bytes, limit: int) -> int:
    """Image descriptors of a GIF (GIF89a specification, sections 17 to 27)."""
    frames = 0
    at = 13
    if len(data) > 10 and data[10] & 0x80:
        at += 3 << ((data[10] & 7) + 1)
    while at < len(data) and frames <= limit:
        block = data[at]
        if block == 0x2C and at + 9 < len(data):
            frames += 1
            flags = data[at + 9]
            at += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        elif block == 0x21:
            at += 2
        else:
            break  # the trailer, or no GIF any more: what came before is what there is
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return max(1, frames)


def _tiff_pages(data: bytes, limit: int) -> int:
    """Directories of a TIFF or BigTIFF (TIFF 6.0, section 2), each once: chains may be loops."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        while at and at not in seen and len(seen) <= limit:
            (entries,) = struct.unpack_from(order + count, data, at)
            seen.add(at)
            (at,) = struct.unpack_from(
                order + offset, data, at + struct.calcsize("<" + count) + entry * entries
            )
    except struct.error:
        pass  # the chain leads out of the file: the directories before are those there are
    return max(1, len(seen))
