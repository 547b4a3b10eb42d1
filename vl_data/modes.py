"""Eight-bit colour and alpha of whatever a decoder gives: palettes, CMYK, 16 bits, floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vl_data.refusals import ImageRefused

_OPAQUE = (255, 255)


def colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A decoded image as RGB and, unless all of it is opaque, its alpha (mode L).

    16-bit samples keep their high byte. Floats are taken to be in 0 .. 1, or in 0 .. 255 if any is
    above 1. CMYK is converted as Pillow does it, without profiles; embedded profiles are ignored
    throughout, as the peers do.

    Raises
    ------
    ImageRefused
        ``image-format`` for a mode that has no reading as colours.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image, None
    if mode.startswith("I;16") or mode == "I":
        return _gray(np.clip(np.asarray(image), 0, 0xFFFF).astype(np.uint16) >> 8), None
    if mode == "F":
        return _gray(_from_floats(np.asarray(image))), None
    if mode == "LAB":
        return _from_lab(image), None
    if mode in ("La", "RGBa"):
        image = image.convert("LA" if mode == "La" else "RGBA")
        mode = image.mode
    if mode in ("CMYK", "YCbCr", "HSV", "RGBX"):
        return image.convert("RGB"), None
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ImageRefused("image-format", f"found samples of mode {mode}, expected colours")
    if mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("RGB"), None
    if mode == "P" and "transparency" not in image.info and image.getpalette("RGBA") is None:
        return image.convert("RGB"), None
    if mode != "RGBA":
        image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema() == _OPAQUE:
        return image.convert("RGB"), None
    return image.convert("RGB"), alpha


def on_white(colour: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """The image as shown on white paper: RGB."""
    if alpha is None:
        return colour
    shown = Image.new("RGB", colour.size, (255, 255, 255))
    shown.paste(colour, mask=alpha)
    return shown


def _gray(values: NDArray[Any]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _from_floats(values: NDArray[Any]) -> NDArray[Any]:
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)
    scale = 255.0 if finite.size and finite.max() <= 1 else 1.0
    return np.clip(np.rint(finite * scale), 0, 255)


def _from_lab(image: Image.Image) -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted
