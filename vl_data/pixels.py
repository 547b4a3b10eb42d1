"""The tiles of an image as the model gets them: scaled, cut and normalised."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vl_data.tiling import Plan, Tiling, tiling_of

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue in 0 .. 1 (Radford et al. 2021, as MiniMax-VL-01 uses them)."""

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


def tile_bytes(rgb: U8, plan: Plan, tiling: str | Tiling | None = None) -> U8:
    """Cut an image into tiles: uint8[tiles, s, s, 3], thumbnail first, padding black.

    Parameters
    ----------
    rgb: uint8[H, W, 3], as ``vl_data.decode.decode`` gives it; H × W is the plan's size.
    plan: of this image's size.
    tiling: the plan's tiling, when it is none of ``TILINGS``.

    Scaling is Pillow's bicubic with antialiasing, the released one.

    Raises
    ------
    ValueError
        If the image is not of the plan's size, or no RGB bytes.
    """
    if rgb.dtype != np.uint8 or rgb.shape != (plan.height, plan.width, 3):
        raise ValueError(
            f"pixels: found {rgb.dtype}{list(rgb.shape)}, expected"
            f" uint8[{plan.height}, {plan.width}, 3] as planned"
        )
    side = tiling_of(plan.tiling if tiling is None else tiling).tile
    image = Image.fromarray(rgb)
    out = np.zeros((len(plan.tiles), side, side, 3), np.uint8)
    out[0] = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    if plan.rows:
        left, top, right, bottom = plan.resized
        canvas = np.zeros((plan.rows * side, plan.columns * side, 3), np.uint8)
        scaled = image.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        canvas[top:bottom, left:right] = np.asarray(scaled)
        cut = canvas.reshape(plan.rows, side, plan.columns, side, 3).swapaxes(1, 2)
        out[1:] = cut.reshape(-1, side, side, 3)
    return out


def normalise(tiles: U8) -> F32:
    """Tiles uint8[..., s, s, 3] as float32[..., 3, s, s]: (v / 255 - mean) / std of the channel."""
    table = _table()
    out = np.empty((*tiles.shape[:-3], 3, *tiles.shape[-3:-1]), np.float32)
    for channel in range(3):
        np.take(table[channel], tiles[..., channel], out=out[..., channel, :, :])
    return out


def tile_pixels(rgb: U8, plan: Plan, tiling: str | Tiling | None = None) -> F32:
    """What the vision tower takes of an image: float32[tiles, 3, s, s], see ``tile_bytes``."""
    return normalise(tile_bytes(rgb, plan, tiling))


@functools.cache
def _table() -> NDArray[Any]:
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    mean, std = np.array(CLIP_MEAN, np.float32), np.array(CLIP_STD, np.float32)
    table: F32 = (values - mean[:, None]) / std[:, None]
    table.flags.writeable = False
    return table
