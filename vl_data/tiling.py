"""How an image becomes tiles and tokens: the released any-resolution rule, by named tilings.

An image is scaled to fit into the best grid of tiles (`vl_data.grids`), centred there on black and
cut into tiles; a thumbnail, the whole image squeezed into one tile, comes first. Each patch of a
tile gives a feature. The features of the grid's tiles are laid out as the grid lies; rows and
columns of padding are dropped, and each row that is left ends in a newline token:

    tokens = (tile / patch)² + rows · (columns + 1)

Source: MiniMax-VL-01's released processor, which is LLaVA-NeXT's rule (Liu et al., 2024) with a
list of its own. It differs from transformers' LLaVA-NeXT in one place: the image inside the grid is
scaled down to whole pixels by cutting off, where transformers rounds up.

``fixed336`` is the released resizing mode, as in the first stage of training: one tile, the image
squeezed into it, no newlines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl_data.grids import Grid, best_fit, best_fits, grids_of

LONGEST_SIDE = 1 << 20
"""Pixels; with longer sides the doubles of the rule would no longer tell all ratios apart."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """A named way to tile images.

    Attributes
    ----------
    name: how recipes and the index call it.
    tile, patch: sides in pixels; a tile is a whole number of patches.
    grids: (width, height) in pixels of the grids an image may be laid on; none: the thumbnail only.
    """

    name: str
    tile: int
    patch: int
    grids: tuple[Grid, ...] = ()

    @property
    def features(self) -> int:
        """Features along one side of a tile."""
        return self.tile // self.patch

    @property
    def most_tiles(self) -> int:
        """Tiles of the largest image, with the thumbnail."""
        return 1 + max((w * h for w, h in self.grids), default=0) // self.tile**2


TILINGS: Mapping[str, Tiling] = MappingProxyType(
    {
        tiling.name: tiling
        for tiling in (
            Tiling("released28", 336, 14, grids_of(336, side=6, most_tiles=18)),
            Tiling("released36", 336, 14, grids_of(336, side=6, most_tiles=36)),
            Tiling("fixed336", 336, 14),
            Tiling("tiny56", 56, 14, grids_of(56, side=4, most_tiles=4)),
            Tiling("fixed56", 56, 14),
        )
    }
)
"""``released28``: the released list, all grids of up to 18 tiles. ``released36``: all up to
2016 × 2016, the list that survives in the release as a comment. ``fixed336``: one squeezed tile.
``tiny56``, ``fixed56``: the same rules for models of test size, grids of up to 4 tiles."""


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How one image is tiled, and what it costs.

    Attributes
    ----------
    tiling: name of the tiling.
    width, height: of the image as shown, in pixels.
    rows, columns: tiles of the grid; 0 where there is only the thumbnail.
    resized: where the scaled image lies on the canvas (``columns`` · tile by ``rows`` · tile
        pixels, or one tile); what surrounds it is black.
    tiles: a box a tile, what it shows of the canvas, in the order the model gets them: the
        thumbnail, then the grid row by row. The thumbnail squeezes ``resized`` into one tile.
    thumbnail_features: features of the thumbnail, which come first and have no newline.
    feature_rows, feature_columns: features kept of the grid; a newline ends each row.
    feature_top, feature_left: features dropped above and left of them, and as many below and right.
    tokens: tokens of the image in a sequence.
    """

    tiling: str
    width: int
    height: int
    rows: int
    columns: int
    resized: Box
    tiles: tuple[Box, ...]
    thumbnail_features: int
    feature_rows: int
    feature_columns: int
    feature_top: int
    feature_left: int
    tokens: int

    @property
    def newlines(self) -> int:
        """Newline tokens: one a kept row of the grid."""
        return self.feature_rows


def tiling_of(tiling: str | Tiling) -> Tiling:
    """The tiling of a name; a ``Tiling`` is given back.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if isinstance(tiling, Tiling):
        return tiling
    if tiling not in TILINGS:
        raise ValueError(f"tiling: found {tiling!r}, expected one of {', '.join(TILINGS)}")
    return TILINGS[tiling]


def plan(width: int, height: int, tiling: str | Tiling = "released28") -> Plan:
    """Tile an image of ``width`` × ``height`` pixels as shown.

    Raises
    ------
    ValueError
        If there is no such tiling, or a side is not in 1 .. ``LONGEST_SIDE``.
    """
    chosen = tiling_of(tiling)
    _check_side("width", width)
    _check_side("height", height)
    tile, side = chosen.tile, chosen.features
    if not chosen.grids:
        whole = Box(0, 0, tile, tile)
        return Plan(
            chosen.name, width, height, 0, 0, whole, (whole,), side * side, 0, 0, 0, 0, side * side
        )
    across, down = best_fit(width, height, chosen.grids)
    columns, rows = across // tile, down // tile
    resized = _resized(width, height, across, down)
    feature_columns, feature_rows = _unpadded(width, height, columns * side, rows * side)
    grid = (
        Box(x, y, x + tile, y + tile) for y in range(0, down, tile) for x in range(0, across, tile)
    )
    return Plan(
        chosen.name,
        width,
        height,
        rows,
        columns,
        resized,
        (resized, *grid),
        side * side,
        feature_rows,
        feature_columns,
        (rows * side - feature_rows) // 2,
        (columns * side - feature_columns) // 2,
        side * side + feature_rows * (feature_columns + 1),
    )


def token_counts(
    widths: NDArray[Any], heights: NDArray[Any], tiling: str | Tiling = "released28"
) -> NDArray[np.int32]:
    """Tokens of n images: int32[n], equal to ``plan(width, height, tiling).tokens`` of each.

    Parameters
    ----------
    widths, heights: integers [n], pixels as shown.

    Raises
    ------
    ValueError
        As ``plan`` does, and for arrays of different lengths.
    """
    chosen = tiling_of(tiling)
    w, h = np.asarray(widths), np.asarray(heights)
    if w.ndim != 1 or w.shape != h.shape:
        raise ValueError(
            f"found widths of shape {w.shape} and heights of shape {h.shape}, expected one length"
        )
    for name, sides in (("width", w), ("height", h)):
        if len(sides):
            _check_side(name, int(sides.min()))
            _check_side(name, int(sides.max()))
    side = chosen.features
    if not chosen.grids:
        return np.full(len(w), side * side, np.int32)
    w, h = w.astype(np.int64), h.astype(np.int64)
    fits = np.array(chosen.grids, np.int64)[best_fits(w, h, chosen.grids)] // chosen.patch
    across, down = fits[:, 0], fits[:, 1]
    # As in ``_unpadded``.
    wide = w * down > across * h
    kept_down = np.where(wide, down - (down - h * across // w) // 2 * 2, down)
    kept_across = np.where(wide, across, across - (across - w * down // h) // 2 * 2)
    tokens: NDArray[np.int32] = (side * side + kept_down * (kept_across + 1)).astype(np.int32)
    return tokens


def _check_side(name: str, side: int) -> None:
    if not 1 <= side <= LONGEST_SIDE:
        raise ValueError(f"{name}: found {side}, expected pixels in 1 .. {LONGEST_SIDE}")


def _resized(width: int, height: int, across: int, down: int) -> Box:
    """Where an image lies when scaled into a grid and centred, the odd pixel right or below."""
    if width / height > across / down:
        # Not the exact quotient: its double, cut off, is what the released code computes. A strip
        # thinner than a pixel, an error there, is one pixel here.
        resized = across, max(1, int(across * height / width))
    else:
        resized = max(1, int(down * width / height)), down
    left, top = (across - resized[0]) // 2, (down - resized[1]) // 2
    return Box(left, top, left + resized[0], top + resized[1])


def _unpadded(width: int, height: int, across: int, down: int) -> tuple[int, int]:
    """Columns and rows of features that are left of a grid of ``across`` × ``down`` features.

    As many are dropped on both sides, so one that is half padding may stay. Nothing is left of a
    strip that is thinner than one feature.
    """
    if width * down > across * height:
        padding = (down - height * across // width) // 2
        return across, down - 2 * padding
    padding = (across - width * down // height) // 2
    return across - 2 * padding, down
