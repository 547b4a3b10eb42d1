"""Whether an image shows nothing."""

from __future__ import annotations

from PIL import Image

CELLS = 64
"""Cells along the shorter side, at least (one pixel a cell in smaller images)."""
TOLERANCE = 8
"""Levels of 255."""


def is_blank(shown: Image.Image) -> bool:
    """Whether all of an RGB image has one colour, but for noise.

    The image is averaged in square cells, 64 or more along its shorter side. It is blank if in each
    channel no cell differs from another by more than 8 levels of 255: the traces of compression and
    the grain of a scan do not count, a letter of text does.
    """
    side = max(1, min(shown.size) // CELLS)
    cells = shown if side == 1 else shown.reduce(side)
    return all(high - low <= TOLERANCE for low, high in cells.getextrema())  # type: ignore[misc]
