"""The table of positions of a vision tower, for another number of patches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resized_positions(table: Tensor, side: int) -> Tensor:
    """Positions ``[1 + n², h]``, the class's before those of n by n patches, as ``[1 + side², h]``.

    The grid is interpolated bicubically, corners not aligned, no antialiasing, in float32: what
    transformers' CLIP does where it is asked to (``interpolate_pos_encoding``), and what vision
    transformers began with (arXiv:2010.11929, section 3.2). The class keeps its own.

    Raises:
        ValueError: for a table that is no square grid and a class.
    """
    count, width = table.shape
    before = round((count - 1) ** 0.5)
    if count - 1 != before**2 or before == 0:
        raise ValueError(f"found {count} positions, expected a square number of patches, and one")
    if before == side:
        return table
    grid = table[1:].float().view(1, before, before, width).permute(0, 3, 1, 2)
    grid = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    patches = grid.permute(0, 2, 3, 1).reshape(side * side, width)
    return torch.cat([table[:1], patches.to(table.dtype)])
