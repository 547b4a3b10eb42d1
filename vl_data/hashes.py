"""Hashes of images: of the exact pixels, and the 64-bit perceptual hash of a DCT.

The perceptual hash is pHash (Zauner 2010, section 3.2.1) in the form of the ImageHash package: the
32 × 32 gray thumbnail's 8 × 8 lowest DCT-II coefficients, each compared with their median. Two
things differ, so that it is fast and the same on every processor: the thumbnail is averaged down
before it is resampled, and the DCT is done in integers.
"""

from __future__ import annotations

import functools
from typing import Any

import blake3
import numpy as np
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

THUMBNAIL = 32
"""Side of the thumbnail that is hashed, in pixels."""
_REDUCING_GAP = 3.0
_LOW = 8
_SCALE = 1 << 20
"""Cosines are integers of this scale: 255 · 32² · 2⁴⁰ stays below 2⁵⁹."""
_STRIP_BYTES = 1 << 18
"""Pixels are hashed by strips that stay in a core's cache,"""
_WHOLE_BYTES = 1 << 22
"""but for small images, where cutting strips takes longer than it saves."""


def pixel_hash(colour: Image.Image, alpha: Image.Image | None = None) -> bytes:
    """16 bytes: BLAKE3 of the size, the RGB rows and, unless all is opaque, the alpha rows.

    ``colour`` has mode RGB, ``alpha`` mode L and the same size. Two images have one hash if and
    only if (but for chance) they have the same RGBA pixels, whatever their files look like.
    """
    width, height = colour.size
    hashed = blake3.blake3(b"leyden.pixels.1\0")
    hashed.update(width.to_bytes(4, "little") + height.to_bytes(4, "little"))
    for plane in (colour, alpha):
        if plane is None:
            continue
        if 3 * width * height <= _WHOLE_BYTES:
            hashed.update(plane.tobytes())
            continue
        rows = max(1, _STRIP_BYTES // (3 * width))
        for top in range(0, height, rows):
            strip = plane.crop((0, top, width, min(height, top + rows)))
            hashed.update(strip.tobytes())
    return bytes(hashed.digest(16))


def thumbnail(shown: Image.Image) -> U8:
    """The gray thumbnail uint8[32, 32] of an RGB image as shown, of which the hash is made."""
    return np.asarray(_thumbnail(shown).convert("L"))


def colour_thumbnail(shown: Image.Image) -> U8:
    """The same in colour: uint8[32, 32, 3]. By it near duplicates are verified."""
    return np.asarray(_thumbnail(shown))


def _thumbnail(shown: Image.Image) -> Image.Image:
    """Averaged down in boxes of whole pixels to some three times the size, then Lanczos.

    Pillow resamples 8-bit images in integers.
    """
    side = THUMBNAIL, THUMBNAIL
    return shown.resize(side, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def phash(thumbnails: U8) -> U64:
    """Perceptual hashes uint64[n] of gray thumbnails uint8[n, 32, 32].

    A bit is set where the coefficient is above the median of the 64; the first (lowest frequency)
    is the highest bit, as ImageHash prints it.

    Raises
    ------
    ValueError
        If the thumbnails have another shape or type.
    """
    if thumbnails.dtype != np.uint8 or thumbnails.shape[1:] != (THUMBNAIL, THUMBNAIL):
        raise ValueError(
            f"thumbnails: found {thumbnails.dtype}{list(thumbnails.shape)}, expected"
            f" uint8[n, {THUMBNAIL}, {THUMBNAIL}]"
        )
    basis = _basis()
    low = (basis @ thumbnails.astype(np.int64) @ basis.T).reshape(-1, _LOW * _LOW)
    middle = np.partition(low, (31, 32), axis=1)[:, 31:33].sum(axis=1)
    bits = 2 * low > middle[:, None]
    packed: U64 = np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)
    return packed


def phash_of(shown: Image.Image) -> int:
    """The perceptual hash of one RGB image as shown."""
    return int(phash(thumbnail(shown)[None])[0])


def hamming(left: Any, right: Any) -> NDArray[np.uint8]:
    """In how many bits 64-bit hashes differ, elementwise: uint8, broadcast."""
    return np.bitwise_count(
        np.bitwise_xor(np.asarray(left, np.uint64), np.asarray(right, np.uint64))
    )


@functools.cache
def _basis() -> NDArray[np.int64]:
    """The first 8 rows of the DCT-II of 32 points, cosines rounded to 1 / ``_SCALE``: int64[8, 32].

    A common factor of the transform's rows changes no comparison, so there is none.
    """
    k, n = np.arange(_LOW)[:, None], np.arange(THUMBNAIL)[None, :]
    cosines = np.cos(np.pi * k * (2 * n + 1) / (2 * THUMBNAIL))
    basis: NDArray[np.int64] = np.rint(cosines * _SCALE).astype(np.int64)
    basis.flags.writeable = False
    return basis
