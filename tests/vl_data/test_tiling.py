"""Tiles and tokens: as released on thousands of sizes, by transformers and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vl_data.grids import best_fit
from vl_data.tiling import LONGEST_SIDE, TILINGS, Box, plan, token_counts

LAID_OUT = ("released28", "released36", "tiny56")
SIDES = st.one_of(st.integers(1, 4000), st.integers(1, LONGEST_SIDE))


def sizes(count: int = 3000) -> list[tuple[int, int]]:
    """Sizes of all kinds: small, large, thin, and those near the borders between grids."""
    draw = np.random.default_rng(7)
    free = draw.integers(1, 5000, (count // 2, 2))
    near = draw.integers(1, 7, (count // 2, 2)) * 336 + draw.integers(-3, 4, (count // 2, 2))
    return [(int(w), int(h)) for w, h in np.concatenate([free, near])]


def test_the_released_lists() -> None:
    for tiling, length, most in (("released28", 28, 18), ("released36", 36, 36), ("tiny56", 8, 4)):
        grids = TILINGS[tiling].grids
        assert len(grids) == len(set(grids)) == length
        assert list(grids) == sorted(grids)
        assert TILINGS[tiling].most_tiles == most + 1
    assert TILINGS["released36"].grids[-1] == (2016, 2016)
    assert set(TILINGS["released28"].grids) < set(TILINGS["released36"].grids)


def test_cases_by_hand() -> None:
    """Worked out on paper from the rule; the maxima are those of the release."""
    assert plan(336, 336).tokens == 576 + 24 * 25 == 1176
    # 1008 × 672 exactly: 72 × 48 features, none padded.
    assert plan(1008, 672).tokens == 576 + 48 * 73
    # 640 × 480 fits 672 × 672 whole: 672 × 504 there, 36 of 48 rows hold some image.
    found = plan(640, 480)
    assert (found.columns, found.rows) == (2, 2)
    assert found.resized == Box(0, 84, 672, 588)
    assert (found.feature_rows, found.feature_columns) == (36, 48)
    assert found.tokens == 576 + 36 * 49
    # 500 × 100: 336 px more in width than one tile; of 24 rows 48 · 100 // 500 = 9 hold image, and
    # (24 - 9) // 2 = 7 go on either side, so one of the 10 left is padding.
    found = plan(500, 100)
    assert (found.columns, found.rows) == (2, 1)
    assert (found.feature_rows, found.feature_columns, found.feature_top) == (10, 48, 7)
    assert found.tokens == 576 + 10 * 49
    assert plan(1008, 2016, "released28").tokens == 576 + 144 * 73 == 11_088
    assert plan(2016, 1008, "released28").tokens == 576 + 72 * 145 == 11_016
    assert plan(9000, 9000, "released36").tokens == 576 + 144 * 145 == 21_456
    # 24 · 10 // 30000 = 0 rows hold image and 24 is even: nothing but the thumbnail is left.
    assert plan(30_000, 10).tokens == 576
    assert plan(1, 1).tokens == 1176
    assert plan(123, 4567, "fixed336").tokens == 576
    assert plan(56, 56, "tiny56").tokens == 16 + 4 * 5


def test_tiles_of_a_plan() -> None:
    found = plan(640, 480)
    assert found.tiles[0] == found.resized
    assert found.tiles[1:] == (
        Box(0, 0, 336, 336),
        Box(336, 0, 672, 336),
        Box(0, 336, 336, 672),
        Box(336, 336, 672, 672),
    )
    assert found.thumbnail_features == 576
    assert found.newlines == found.feature_rows
    assert plan(640, 480, "fixed336").tiles == (Box(0, 0, 336, 336),)


@pytest.mark.parametrize("name", LAID_OUT)
def test_transformers_chooses_the_same_grid_and_keeps_the_same_features(name: str) -> None:
    """Its best-fit rule sees sizes and lists as (width, height), the order of the release.

    It cuts features out of a tensor by floats rounded to 7 digits; here integers decide.
    """
    torch = pytest.importorskip("torch", reason="the judge is transformers, of the train extra")
    from transformers.image_processing_utils import select_best_resolution
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    tiling = TILINGS[name]
    for width, height in sizes():
        found = plan(width, height, name)
        across, down = select_best_resolution((width, height), list(tiling.grids))
        assert (found.columns * tiling.tile, found.rows * tiling.tile) == (across, down)
        grid = torch.empty(1, down // tiling.patch, across // tiling.patch, device="meta")
        kept = unpad_image(grid, (height, width)).shape[1:]
        # A strip of no rows: transformers slices [12:12] too.
        assert (found.feature_rows, found.feature_columns) == tuple(kept)
        assert found.feature_top * 2 + found.feature_rows == grid.shape[1]
        assert found.feature_left * 2 + found.feature_columns == grid.shape[2]


@pytest.mark.parametrize("name", LAID_OUT)
def test_the_order_of_sides_does_not_matter(name: str) -> None:
    """transformers reads the list as (height, width), the release as (width, height).

    They could only differ where two grids fit equally well, and no two do.
    """
    grids = TILINGS[name].grids
    for width, height in sizes():
        across, down = best_fit(width, height, grids)
        assert best_fit(height, width, grids) == (down, across)


@pytest.mark.parametrize("name", list(TILINGS))
def test_vectorised_counts_equal_plans(name: str) -> None:
    some = sizes() + list(itertools.product((1, 2, 335, 336, 337, LONGEST_SIDE), repeat=2))
    widths, heights = np.array(some, np.int32).T
    counts = token_counts(widths, heights, name)
    assert counts.dtype == np.int32
    assert counts.tolist() == [plan(w, h, name).tokens for w, h in some]
    assert token_counts(np.empty(0, np.int32), np.empty(0, np.int32), name).shape == (0,)


@given(SIDES, SIDES, st.sampled_from(LAID_OUT))
def test_a_plan_holds_together(width: int, height: int, name: str) -> None:
    tiling, found = TILINGS[name], plan(width, height, name)
    canvas = Box(0, 0, found.columns * tiling.tile, found.rows * tiling.tile)
    assert (canvas.right, canvas.bottom) in tiling.grids
    inner = found.resized
    assert 0 <= inner.left < inner.right <= canvas.right
    assert 0 <= inner.top < inner.bottom <= canvas.bottom
    assert inner.right - inner.left == canvas.right or inner.bottom - inner.top == canvas.bottom
    assert len(found.tiles) == 1 + found.rows * found.columns <= tiling.most_tiles
    assert found.tokens == tiling.features**2 + found.feature_rows * (found.feature_columns + 1)
    # The features kept cover the scaled image, less the part of a feature that cutting off takes.
    top = found.feature_top * tiling.patch
    left = found.feature_left * tiling.patch
    assert top < inner.top + tiling.patch
    assert left < inner.left + tiling.patch


def test_errors_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"tiling: found 'big', expected one of released28"):
        plan(3, 3, "big")
    with pytest.raises(ValueError, match="width: found 0"):
        plan(0, 3)
    with pytest.raises(ValueError, match="height: found -1"):
        token_counts(np.array([3, 4]), np.array([5, -1]))
    with pytest.raises(ValueError, match="one length"):
        token_counts(np.array([3, 4]), np.array([5]))
