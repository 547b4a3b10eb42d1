"""Tiles of pixels: as transformers cuts them where the two coincide, by the rule elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vl_data.pixels import CLIP_MEAN, CLIP_STD, normalise, tile_bytes, tile_pixels
from vl_data.tiling import TILINGS, plan

U8 = NDArray[np.uint8]


def picture(width: int, height: int, seed: int = 0) -> U8:
    """Smooth shapes and noise."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (9, 9, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + draw.integers(-20, 21, smooth.shape)
    clipped: U8 = np.clip(noisy, 0, 255).astype(np.uint8)
    return clipped


@pytest.mark.parametrize("name", ["released28", "tiny56"])
def test_transformers_gives_the_same_tiles_where_its_rounding_coincides(name: str) -> None:
    """Where scaling into the grid gives whole pixels, rounding up and cutting off are one."""
    pytest.importorskip("torch", reason="the judge is transformers, of the train extra")
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    tiling = TILINGS[name]
    side = tiling.tile
    judge = LlavaNextImageProcessorPil(
        image_grid_pinpoints=[[down, across] for across, down in tiling.grids],
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
    )
    unit = side // 28
    shapes = [(2, 1), (1, 2), (4, 3), (3, 4), (1, 1), (7, 2), (2, 7), (28, 28), (56, 28), (84, 14)]
    compared = 0
    for seed, (across, down) in enumerate(shapes):
        rgb = picture(across * 5 * unit, down * 5 * unit, seed)
        planned = plan(rgb.shape[1], rgb.shape[0], name)
        found = tile_pixels(rgb, planned)
        theirs = judge(Image.fromarray(rgb), return_tensors="np")["pixel_values"][0]
        left, top, right, bottom = planned.resized
        exact = (right - left) * rgb.shape[0] == (bottom - top) * rgb.shape[1]
        if exact:
            compared += 1
            assert found.shape == theirs.shape
            np.testing.assert_allclose(found, theirs, atol=1e-6)
        # The thumbnail never depends on that rounding.
        np.testing.assert_allclose(found[0], theirs[0], atol=1e-6)
    assert compared >= 7


def test_the_release_cuts_a_fraction_of_a_pixel_off() -> None:
    """Where transformers would round up: 672 × 447.99… is 447 rows here, centred on black."""
    rgb = picture(601, 401)
    planned = plan(601, 401)
    assert 672 * 401 % 601
    height = 672 * 401 // 601
    assert planned.resized == (0, (672 - height) // 2, 672, (672 - height) // 2 + height)
    tiles = tile_bytes(rgb, planned)
    canvas = tiles[1:].reshape(2, 2, 336, 336, 3).swapaxes(1, 2).reshape(672, 672, 3)
    scaled = Image.fromarray(rgb).resize((672, height), Image.Resampling.BICUBIC)
    top = planned.resized.top
    assert (canvas[top : top + height] == np.asarray(scaled)).all()
    assert not canvas[:top].any()
    assert not canvas[top + height :].any()


def test_normalising_is_the_torch_arithmetic() -> None:
    torch = pytest.importorskip("torch", reason="the judge is transformers, of the train extra")
    tiles = np.arange(256 * 3, dtype=np.uint8).reshape(1, 16, 16, 3)
    scaled = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(CLIP_MEAN)[:, None, None]
    std = torch.tensor(CLIP_STD)[:, None, None]
    assert np.array_equal(normalise(tiles), ((scaled - mean) / std).numpy())


def test_the_fixed_tiling_squeezes_into_one_tile() -> None:
    rgb = picture(100, 700)
    found = tile_bytes(rgb, plan(100, 700, "fixed336"))
    squeezed = Image.fromarray(rgb).resize((336, 336), Image.Resampling.BICUBIC)
    assert (found == np.asarray(squeezed)).all()


def test_a_strip_becomes_tiles() -> None:
    assert tile_pixels(picture(2000, 5), plan(2000, 5)).shape == (7, 3, 336, 336)
    # No grid keeps a pixel of this one: the first is taken.
    assert tile_pixels(picture(3000, 1), plan(3000, 1)).shape == (2, 3, 336, 336)


def test_pixels_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found uint8\[5, 4, 3\], expected uint8\[4, 5, 3\]"):
        tile_bytes(picture(4, 5), plan(5, 4))
