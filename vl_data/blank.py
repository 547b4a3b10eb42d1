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
    if side == 1:
        return _even(shown)
    # Nearly every image shows something in a few rows of its cells; only others are seen whole.
    width, height = shown.size
    return all(
        _even(shown.crop((0, top, width, top + side)).reduce(side))
        for top in range(side, height - side, side * _STEP)
    ) and _even(shown.reduce(side))


_STEP = 16
"""Every so many rows of cells are looked at first."""


def _even(cells: Image.Image) -> bool:
    return all(high - low <= TOLERANCE for low, high in cells.getextrema())  # type: ignore[misc]
