"""What befalls a picture of text: grain, specks, blur, uneven light, little contrast.

Arithmetic on integers, apart from Pillow's own blur. Strengths keep the text legible.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from vl_data.synthesis.draws import Draws

NOISES = ("clean", "grain", "specks", "blur", "light", "faded")


def disturb(draws: Draws, image: Image.Image, blurred: bool = True) -> tuple[Image.Image, str]:
    """The image with one of `NOISES`, and which.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB.
    blurred : bool
        Whether blur is among them; text of few pixels is not read through it.
    """
    kind = draws.pick([noise for noise in NOISES if blurred or noise != "blur"])
    if kind == "clean":
        return image, kind
    if kind == "blur":
        radius = min(image.size) / 672 * draws.uniform(0.6, 1.2)
        return image.filter(ImageFilter.GaussianBlur(radius)), kind
    pixels = np.asarray(image, dtype=np.int16)
    return Image.fromarray(_disturbed(draws, pixels, kind)), kind


def _disturbed(draws: Draws, pixels: npt.NDArray[np.int16], kind: str) -> npt.NDArray[np.uint8]:
    height, width, _ = pixels.shape
    if kind == "grain":
        # The sum of two uniform bytes is a triangle about its middle.
        amount = draws.between(8, 28)
        noise = draws.noise(height, width, 2).astype(np.int16).sum(axis=2, dtype=np.int16) - 255
        found = pixels + (noise.astype(np.int32) * amount // 255).astype(np.int16)[:, :, None]
    elif kind == "specks":
        share = draws.between(1, 4)
        noise = draws.noise(height, width, 2)
        found = pixels.copy()
        struck = noise[:, :, 0] < share
        found[struck] = (255 * (noise[:, :, 1][struck] & 1))[:, None]
    elif kind == "light":
        dark = draws.between(40, 90)
        along = np.arange(width) * 255 // max(width - 1, 1)
        if draws.coin():
            along = along[::-1]
        found = pixels - (pixels * (along * dark // 255)[None, :, None]) // 255
    else:
        grey, kept = draws.between(110, 190), draws.between(110, 180)
        found = grey + (pixels.astype(np.int32) - grey) * kept // 255
    clipped: npt.NDArray[np.uint8] = found.clip(0, 255).astype(np.uint8)
    return clipped
