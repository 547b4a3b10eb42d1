"""The order of an image's features: LLaVA-NeXT's, and the plain reference's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

from tests.trainer.vision.cases import ONE_TILE, build, pixels_of, recipe
from trainer.vision.images import Images, order_of
from trainer.vision.reference import VisionReference
from vl_data.tiling import TILINGS, plan

SIZES = [
    (40, 60),
    (300, 120),
    (56, 56),
    (1, 1),
    (999, 7),
    (7, 999),
    (224, 56),
    (113, 111),
    (30_000, 9),
]


def packed_by_transformers(features: Tensor, size: tuple[int, int], newline: Tensor) -> Tensor:
    """``LlavaNextModel.pack_image_features`` of one image's tiles ``[n, side², h]``."""
    config = SimpleNamespace(
        vision_config=SimpleNamespace(image_size=56, patch_size=14),
        # (height, width) there; the list holds each grid and the same turned.
        image_grid_pinpoints=[list(grid) for grid in TILINGS["tiny56"].grids],
    )
    height_width = torch.tensor([[size[1], size[0]]])
    pack: Any = LlavaNextModel.pack_image_features
    (found,), _ = pack(SimpleNamespace(config=config), [features], height_width, "default", newline)
    return cast(Tensor, found)


@pytest.mark.usefixtures("alone")
def test_equals_transformers() -> None:
    model = build(recipe())
    projector = model.projector
    plans = [plan(*size, "tiny56") for size in SIZES]
    pixels = pixels_of(plans)
    with torch.no_grad():
        features = model.vision_tower(pixels)
        found = projector(features, plans)
        projected = projector.mlp(features)
    assert len(found) == sum(one.tokens for one in plans)
    parts = found.split([one.tokens for one in plans])
    tiles = projected.split([len(one.tiles) for one in plans])
    for size, ours, theirs in zip(SIZES, parts, tiles, strict=True):
        expected = packed_by_transformers(theirs, size, projector.newline.detach())
        assert ours.shape == expected.shape
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_equals_the_reference() -> None:
    """With features that say which they are, by the reference's own loop over rows."""
    vision = recipe().vision
    assert vision is not None
    side = vision.side
    for one in [*[plan(*size, "tiny56") for size in SIZES], plan(9, 9, ONE_TILE)]:
        count = len(one.tiles) * side**2
        names = torch.arange(1, count + 1, dtype=torch.float32).view(-1, side**2, 1)
        reference = VisionReference(vision, {"image_newline": torch.zeros(1)})
        judge = cast(Any, SimpleNamespace(
            vision=vision, weights=reference.weights, tower=lambda x: x, project=lambda x: x
        ))  # fmt: skip
        expected = VisionReference.image(judge, names, one)
        order = order_of([one], side)
        found = torch.zeros(order.tokens).index_copy(0, order.places, order.kept + 1.0)
        assert torch.equal(found[:, None], expected)


def test_by_hand() -> None:
    """One tile of 2 x 2 features with a thumbnail: its rows, each with a newline."""
    from vl_data.tiling import Tiling

    one = plan(28, 28, Tiling("two", 28, 14, ((28, 28), (56, 28))))
    wide = plan(56, 28, Tiling("two", 28, 14, ((28, 28), (56, 28))))
    order = order_of([one, wide], 2)
    assert order.tokens == (4 + 6) + (4 + 2 * 5)
    grid = [12, 13, 16, 17, 14, 15, 18, 19]
    assert order.kept.tolist() == [*range(8), *range(8, 12), *grid]
    newlines = sorted(set(range(order.tokens)) - set(order.places.tolist()))
    assert newlines == [6, 9, 18, 23]


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"tiling tiny56, whose tiles have 16 features, expect"):
        order_of([plan(5, 5, "tiny56")], 24)
    plans = (plan(56, 56, "tiny56"),)
    with pytest.raises(ValueError, match=r"\(3, 3, 56, 56\) for 1 plans of 2 tiles in all"):
        Images(torch.zeros(3, 3, 56, 56), plans)
