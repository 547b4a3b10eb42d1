"""What a micro-batch shows: tiles of pixels, how each image was tiled, where its features go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vl_data.tiling import Plan


@dataclass(frozen=True)
class Images:
    """The images of a micro-batch, in the order in which its sequences show them.

    Attributes:
        pixels: float ``[tiles, 3, s, s]``, normalised, of all images end to end; of each its
            thumbnail, then its grid row by row.
        plans: of each image.

    Raises:
        ValueError: where plans and pixels do not have the same tiles.
    """

    pixels: Tensor
    plans: tuple[Plan, ...]

    def __post_init__(self) -> None:
        tiles = sum(len(plan.tiles) for plan in self.plans)
        if self.pixels.dim() != 4 or len(self.pixels) != tiles:
            raise ValueError(
                f"images: found pixels of shape {tuple(self.pixels.shape)} for {len(self.plans)} "
                f"plans of {tiles} tiles in all, expected [{tiles}, 3, s, s]"
            )

    @property
    def tokens(self) -> int:
        """Places that all images take in the sequences, newlines included."""
        return sum(plan.tokens for plan in self.plans)

    def to(self, device: torch.device | str) -> Images:
        """The same with its pixels on a device."""
        return Images(self.pixels.to(device, non_blocking=True), self.plans)


@dataclass(frozen=True)
class Order:
    """Where features go.

    Attributes:
        kept: int64 ``[K]``, of all features of all tiles (tile after tile, each row by row) those
            that an image keeps.
        places: int64 ``[K]``, ascending, the place of each among ``tokens``; the places between
            are newlines.
        tokens: F, places of all images.
    """

    kept: Tensor
    places: Tensor
    tokens: int


def order_of(plans: Sequence[Plan], side: int) -> Order:
    """The order of LLaVA-NeXT, which MiniMax-VL-01 released: of each image all features of its
    thumbnail, then rows right across its grid without padding, a newline after each.

    Args:
        plans: of the images.
        side: features along one side of a tile.

    Raises:
        ValueError: for a plan of other tiles.
    """
    kept, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    square, tile, token = side * side, 0, 0
    for plan in plans:
        if plan.thumbnail_features != square:
            raise ValueError(
                f"images: found a plan of tiling {plan.tiling}, whose tiles have "
                f"{plan.thumbnail_features} features, expected {square} as the vision tower makes"
            )
        thumbnail = np.arange(square)
        kept.append(tile * square + thumbnail)
        places.append(token + thumbnail)
        rows, columns = plan.feature_rows, plan.feature_columns
        tiles = np.arange(plan.rows * plan.columns * square)
        tiles_by_rows = tiles.reshape(plan.rows, plan.columns, side, side).transpose(0, 2, 1, 3)
        grid = tiles_by_rows.reshape(plan.rows * side, plan.columns * side)
        shown = grid[plan.feature_top :, plan.feature_left :][:rows, :columns]
        kept.append((tile + 1) * square + shown.ravel())
        at = np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)
        places.append(token + square + at.ravel())
        tile += len(plan.tiles)
        token += plan.tokens
    return Order(
        torch.from_numpy(np.concatenate(kept)), torch.from_numpy(np.concatenate(places)), token
    )
