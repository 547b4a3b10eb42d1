"""Boxes as text: whole thousandths of the image's width and height.

``[left, top, right, bottom]``, each of 0 … 1000, so that an answer does not hang on the size that
the image is shown in.
"""

from __future__ import annotations

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.shapes import Box

SCALE = 1000
HOW = "Boxes are [left, top, right, bottom] in thousandths of the picture."
"""Said with every question about a box."""


def box_text(box: Box, width: int, height: int) -> str:
    """``[120, 80, 340, 310]``, rounded to the nearest thousandth."""
    sides = zip(box, (width, height, width, height), strict=True)
    return "[" + ", ".join(str((2 * SCALE * at + size) // (2 * size)) for at, size in sides) + "]"


def moved(draws: Draws, box: Box, width: int, height: int) -> Box:
    """A box of that size elsewhere in the image, at least half its size away where there is room.

    Raises
    ------
    ValueError
        If the box is as large as the image.
    """
    left, top, right, bottom = box
    across, down = right - left, bottom - top
    if across >= width and down >= height:
        raise ValueError(f"box {box} fills the image of {width}x{height} pixels: nowhere to move")
    spots = [
        (x, y)
        for x in _steps(width - across)
        for y in _steps(height - down)
        if abs(x - left) * 2 >= across or abs(y - top) * 2 >= down
    ]
    if not spots:
        # The farthest corner is less than half a box away, and all there is.
        spots = [(0 if left * 2 > width - across else width - across,
                  0 if top * 2 > height - down else height - down)]  # fmt: skip
    x, y = draws.pick(spots)
    return x, y, x + across, y + down


def _steps(most: int, count: int = 8) -> list[int]:
    return sorted({most * i // count for i in range(count + 1)})
