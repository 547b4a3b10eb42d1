"""Synthetic photographs, whose files cost a decoder what those of photographs do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FALL = 0.4
"""Of amplitude with frequency, so that files are as large as those of photographs: at half a
megapixel 118 KB as JPEG of quality 85 and 218 KB of quality 95, where 66 photographs of COCO and
OpenStax, scaled to that size, take 117 and 204."""
NOISE = f"fall{FALL:g}"
"""For names of files, so that those of another noise are made anew."""


def photo(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Noise whose amplitude falls with frequency: uint8[H, W, 3]."""
    draw = np.random.default_rng(seed)
    values = np.zeros((height, width, 3), np.float32)
    cells = 4
    while cells <= width:
        coarse = draw.standard_normal((cells, cells, 3)).astype(np.float32)
        # Brightness varies more than colour.
        coarse = coarse * 0.35 + coarse[..., :1]
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel])
            scaled = layer.resize((width, height), Image.Resampling.BICUBIC)
            values[..., channel] += np.asarray(scaled) / cells**FALL
        cells *= 2
    spread = values / values.std() * 55 + 120
    found: NDArray[np.uint8] = np.clip(spread, 0, 255).astype(np.uint8)
    return found
