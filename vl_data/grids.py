"""Which grid of tiles an image is laid on: the lists of grids, and the best fit in one.

A grid is (width, height) in pixels, both multiples of the tile. Lists are in ascending order, as
released: of two grids that fit equally well the first is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grid = tuple[int, int]
I64 = NDArray[np.int64]


def grids_of(tile: int, side: int, most_tiles: int) -> tuple[Grid, ...]:
    """All grids of at most ``side`` tiles a side and ``most_tiles`` tiles in all."""
    return tuple(
        (columns * tile, rows * tile)
        for columns in range(1, side + 1)
        for rows in range(1, side + 1)
        if columns * rows <= most_tiles
    )


def best_fit(width: int, height: int, grids: Sequence[Grid]) -> Grid:
    """The grid that keeps most of the image's pixels; of equals the one that wastes least.

    The rule of LLaVA-NeXT as MiniMax-VL-01 released it: an image scaled to fit into a grid keeps at
    most its own pixels. Its arithmetic too: the scale is one double, and scaled sides are cut off.
    A strip of which no grid keeps a pixel, an error there, gets the first grid.
    """
    best, most_kept, least_waste = grids[0], 0, 0
    for across, down in grids:
        scale = min(across / width, down / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        waste = across * down - kept
        if kept > most_kept or (kept == most_kept and waste < least_waste):
            best, most_kept, least_waste = (across, down), kept, waste
    return best


def best_fits(widths: NDArray[Any], heights: NDArray[Any], grids: Sequence[Grid]) -> I64:
    """``best_fit`` of n images: int64[n], indices into ``grids``.

    Takes the grids one after the other, over all images at once: the same doubles, the same order.
    """
    w, h = widths.astype(np.int64), heights.astype(np.int64)
    best = np.zeros(len(w), np.int64)
    most_kept = np.zeros(len(w), np.int64)
    least_waste = np.zeros(len(w), np.int64)
    for index, (across, down) in enumerate(grids):
        scale = np.minimum(across / w, down / h)
        kept = np.minimum((w * scale).astype(np.int64) * (h * scale).astype(np.int64), w * h)
        waste = across * down - kept
        better = (kept > most_kept) | ((kept == most_kept) & (waste < least_waste))
        best[better] = index
        most_kept[better] = kept[better]
        least_waste[better] = waste[better]
    return best
