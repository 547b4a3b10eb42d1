"""What a micro-batch shows: tiles of pixels, how each image was tiled, where its features go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.vision.pixels import normalised
from trainer.vision.recipe import CHANNELS
from vl_data.tiling import Plan

GEOMETRIES = 4096
"""Layouts of an image that are kept: few shapes make most of a corpus."""


@dataclass(frozen=True)
class Images:
    """The images of a micro-batch, in the order in which its sequences show them.

    Attributes:
        pixels: of all images end to end; of each its thumbnail, then its grid row by row. Bytes as
            they were decoded, uint8 ``[tiles, s, s, 3]``, or float ``[tiles, 3, s, s]``,
            normalised (:mod:`.pixels`): the bytes are a quarter to read, to keep and to send.
        plans: of each image.
        places: int64 ``[F]``, ascending, on the CPU: where the sequences have the image's id. None
            where nobody looked: then the sequences are asked, for which a GPU is waited for.

    Raises:
        ValueError: where plans and pixels do not have the same tiles.
    """

    pixels: Tensor
    plans: tuple[Plan, ...]
    places: Tensor | None = None

    def __post_init__(self) -> None:
        tiles = sum(len(plan.tiles) for plan in self.plans)
        shape = tuple(self.pixels.shape)
        colours = -1 if self.pixels.dtype == torch.uint8 else 1
        if len(shape) != 4 or shape[0] != tiles or shape[colours] != CHANNELS:
            raise ValueError(
                f"images: found {self.pixels.dtype} pixels of shape {shape} for {len(self.plans)} "
                f"plans of {tiles} tiles in all, expected [{tiles}, s, s, 3] of bytes or "
                f"[{tiles}, 3, s, s] of floats"
            )

    @property
    def tokens(self) -> int:
        """Places that all images take in the sequences, newlines included."""
        return sum(plan.tokens for plan in self.plans)

    def to(self, device: torch.device | str) -> Images:
        """The same with its pixels on a device."""
        return replace(self, pixels=self.pixels.to(device, non_blocking=True))

    def pinned(self) -> Images:
        """The same in memory that a GPU reads by itself while the program goes on."""
        places = None if self.places is None else self.places.pin_memory()
        return replace(self, pixels=self.pixels.pin_memory(), places=places)

    def normalised(self) -> Tensor:
        """The pixels as a tower takes them, float ``[tiles, 3, s, s]``, on their device."""
        return normalised(self.pixels) if self.pixels.dtype == torch.uint8 else self.pixels


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
        features, at = _order_of_one(
            plan.rows, plan.columns,
            plan.feature_top, plan.feature_left, plan.feature_rows, plan.feature_columns,
            side,
        )  # fmt: skip
        kept.append(tile * square + features)
        places.append(token + at)
        tile += len(plan.tiles)
        token += plan.tokens
    return Order(
        torch.from_numpy(np.concatenate(kept)), torch.from_numpy(np.concatenate(places)), token
    )


@lru_cache(GEOMETRIES)
def _order_of_one(
    tile_rows: int, tile_columns: int, top: int, left: int, rows: int, columns: int, side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of one image: which of its features are kept, and the place of each among its tokens."""
    square = side * side
    tiles = np.arange(tile_rows * tile_columns * square)
    tiles_by_rows = tiles.reshape(tile_rows, tile_columns, side, side).transpose(0, 2, 1, 3)
    grid = tiles_by_rows.reshape(tile_rows * side, tile_columns * side)
    shown = grid[top:, left:][:rows, :columns]
    at = np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)
    thumbnail = np.arange(square)
    kept = np.concatenate([thumbnail, square + shown.ravel()])
    return kept, np.concatenate([thumbnail, square + at.ravel()])
