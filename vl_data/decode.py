"""From the bytes of an image file to pixels: the one way, for whoever needs them.

Nothing of a file is trusted: the format is that of its first bytes and no other decoder is tried,
sizes and frames are held against limits before pixels are made, and whatever a decoder raises
becomes a refusal with a reason. The same bytes give the same pixels on every machine with the same
Pillow (which brings its own libjpeg-turbo, libpng and so on).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vl_data.formats import Format, sniff
from vl_data.frames import count_frames
from vl_data.limits import ANY_SIZE, Limits
from vl_data.missing import lacks_pixels
from vl_data.modes import colour_and_alpha, on_white
from vl_data.refusals import ImageRefused

_ORIENTATION = 0x0112
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_START_OF_SCAN = b"\xff\xda"


@dataclass(frozen=True, slots=True)
class Decoded:
    """The first frame of a file, upright.

    ``colour`` has mode RGB; ``alpha`` mode L, None where all is opaque; ``format`` is a name of
    ``FORMATS``; ``frames`` counts the file's.
    """

    colour: Image.Image
    alpha: Image.Image | None
    format: str
    frames: int

    def shown(self) -> Image.Image:
        """The image on white: RGB."""
        return on_white(self.colour, self.alpha)


def decode(data: bytes, limits: Limits = ANY_SIZE) -> NDArray[np.uint8]:
    """The pixels of an image file as shown: uint8[H, W, 3], RGB.

    Alpha lies on white, of an animation the first frame is taken, EXIF rotation is applied; CMYK,
    palettes, 16 bits and floats as in ``vl_data.modes``.

    Raises
    ------
    ImageRefused
        If it cannot be decoded, or is out of ``limits`` (by default: only of what is safe).
    """
    return np.asarray(decode_image(data, limits).shown())


def decode_image(data: bytes, limits: Limits = ANY_SIZE) -> Decoded:
    """Decode a file once, as Pillow images; otherwise as ``decode``."""
    limits.check_bytes(len(data))
    found = sniff(data)
    if found.name == "jpeg" and data.count(_START_OF_SCAN) > limits.max_scans:
        raise ImageRefused(
            "image-bomb", f"found over {limits.max_scans} scans, expected at most as many"
        )
    with warnings.catch_warnings():
        # Of metadata that nobody asks for, and of sizes that are checked here.
        warnings.simplefilter("ignore")
        with _open(data, found) as image:
            width, height = image.size
            limits.check_size(width, height)
            frames = _frames(image, data, found, limits.max_frames)
            limits.check_frames(frames)
            _load(image, data, found)
            if image.size != (width, height):
                raise ImageRefused(
                    "image-lying",
                    f"found {image.width} x {image.height} pixels, expected the header's"
                    f" {width} x {height}",
                )
            turn = _orientation(image)  # not before: of a PNG, asking for EXIF decodes it
            colour, alpha = _colour_and_alpha(image, data, found)
    if turn in _TURNED:
        colour = colour.transpose(_TURNED[turn])
        alpha = alpha.transpose(_TURNED[turn]) if alpha is not None else None
    return Decoded(colour, alpha, found.name, frames)


def _open(data: bytes, found: Format) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[found.decoder])
    except Image.DecompressionBombError as error:
        raise ImageRefused("image-bomb", "found a size beyond all bounds in the header") from error
    except Exception as error:
        raise _broken(error, data, found) from error


def _frames(image: Image.Image, data: bytes, found: Format, limit: int) -> int:
    try:
        return count_frames(image, found.name, data, limit)
    except Exception as error:
        raise _broken(error, data, found) from error


def _load(image: Image.Image, data: bytes, found: Format) -> None:
    try:
        image.load()
        lacking = lacks_pixels(image, found.name, data)
    except MemoryError as error:
        raise ImageRefused("image-bomb", "found no memory to decode it") from error
    except Exception as error:
        raise _broken(error, data, found) from error
    if lacking:
        raise ImageRefused(
            "image-lying",
            f"found less data than the header's {image.width} x {image.height} pixels take",
        )


def _colour_and_alpha(
    image: Image.Image, data: bytes, found: Format
) -> tuple[Image.Image, Image.Image | None]:
    try:
        return colour_and_alpha(image)
    except ImageRefused:
        raise
    except Exception as error:
        raise _broken(error, data, found) from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 .. 8; a broken EXIF block turns nothing, as in browsers.

    A TIFF is turned by its decoder.
    """
    if image.format == "TIFF":
        return 1
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - metadata that is broken does not spoil the pixels
        return 1
    return turn if isinstance(turn, int) and turn in _TURNED else 1


def _broken(error: Exception, data: bytes, found: Format) -> ImageRefused:
    said = " ".join(str(error).split())
    if isinstance(error, UnidentifiedImageError):
        said = "no header"  # its text holds an address in memory
    detail = f"found {found.name} data that does not decode: {said[:200]}"
    if isinstance(error, NotImplementedError) or "unsupported" in said.lower():
        return ImageRefused("image-format", detail)
    if isinstance(error, EOFError) or "truncated" in said.lower() or _is_cut(data, found.name):
        return ImageRefused("image-truncated", detail)
    return ImageRefused("image-corrupt", detail)


def _is_cut(data: bytes, name: str) -> bool:
    """Whether the end that the format prescribes is missing."""
    if name == "jpeg":
        return b"\xff\xd9" not in data[-64:]
    if name == "png":
        return b"IEND" not in data[-64:]
    if name == "gif":
        return b"\x3b" not in data[-8:]
    if name == "webp":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if name == "avif":
        return _boxes_end(data) > len(data)
    return False


def _boxes_end(data: bytes) -> int:
    """Where the last box of an ISO media file (ISO/IEC 14496-12, 4.2) says that it ends."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            break
        at += size
    return at
