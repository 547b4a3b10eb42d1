"""Vision blocks of recipes: what is refused, and the sizes of the presets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.trainer.vision.cases import VISION, recipe
from trainer.convert.vision_names import tower_parameters, vision_parameters
from trainer.megatron.start import Layout
from trainer.models.build import build_model, count_parameters
from trainer.models.config import transformer_config
from trainer.models.recipe import StageDefaults
from trainer.stages.loading import load_model, load_stage, names_of
from trainer.vision.recipe import VisionRecipe
from vl_data.tiling import TILINGS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden": 25}, "found hidden 25 and 4 heads, expected a multiple"),
        ({"tile": 57}, "found tile 57 and patch 14, expected a multiple"),
        ({"tiling": "huge"}, "tiling: found 'huge', expected one of released28"),
        ({"tile": 336}, "found tile 336 and patch 14, expected 56 and 14 as tiling tiny56 has"),
        ({"activation": "relu"}, "activation"),
    ],
)
def test_refuses(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VisionRecipe(**(VISION | change))


@pytest.mark.parametrize("name", ["tiny-vl", "400m-vl", "minimax-vl-01"])
def test_stages_show_presets_images_by_tilings_of_their_tiles(name: str) -> None:
    model = load_model(name)
    assert model.vision is not None
    stages = [stage for stage in names_of("stages") if stage.startswith("vl_")]
    assert {"vl_stage1", "vl_stage2"} <= set(stages)
    for stage in map(load_stage, stages):
        assert stage.tiling is not None
        shown = TILINGS[model.stages.tilings.get(stage.tiling, stage.tiling)]
        assert (shown.tile, shown.patch) == (model.vision.tile, model.vision.patch)
        # A stage of one squeezed tile stays one.
        assert bool(shown.grids) == bool(TILINGS[stage.tiling].grids)


def test_a_replaced_tiling_has_a_name_that_is_known() -> None:
    with pytest.raises(ValueError, match="tiling: found 'fixed57', expected one of released28"):
        StageDefaults(tilings={"fixed336": "fixed57"})


def test_a_recipe_takes_one_image_token() -> None:
    free = recipe(vision={"image_token": None})
    said = free.showing_images_at(7)
    assert said.vision is not None
    assert said.vision.image_token == 7
    assert said.showing_images_at(7) == said.showing_images_at(None) == said
    with pytest.raises(ValueError, match="found image token 8, expected 7"):
        said.showing_images_at(8)


@pytest.mark.parametrize(
    ("name", "tower", "projector"),
    [
        # By the sizes: 12 h² a block with biases and norms, positions of 577, patches of 588.
        ("minimax-vl-01", 303_505_408, 1024 * 6144 + 6144**2 + 3 * 6144),
        ("400m-vl", 85_951_488, 768 * 1280 + 1280**2 + 3 * 1280),
        ("tiny-vl", 393_888, 96 * 128 + 128**2 + 3 * 128),
    ],
)
def test_presets_are_a_text_model_and_a_tower(name: str, tower: int, projector: int) -> None:
    model = load_model(name)
    text = load_model(name.replace("-vl", "").replace("minimax-01", "minimax-text-01"))
    same = {"name": text.name, "vision": None, "stages": text.stages}
    assert model.model_copy(update=same) == text
    assert model.vision is not None
    assert sum(math.prod(one.shape) for one in tower_parameters(model.vision)) == tower
    both = sum(math.prod(one.shape) for one in vision_parameters(model))
    assert both == tower + projector
    vocabulary = 200_064
    found, without = (count_parameters(one, vocabulary) for one in (model, text))
    assert [a - b for a, b in zip(found, without, strict=True)] == [both, both]


def test_layouts_that_cannot_cut_it() -> None:
    sizes: dict[str, Any] = {"vocab_size": 300, "sequence_tokens": 128, "rope_base": 1e4}
    odd = recipe(vision={"heads": 3})
    with pytest.raises(ValueError, match=r"found vision\.heads 3 for 2 ranks"):
        transformer_config(odd, parallel=Layout(tp=2), **sizes)
    odd = recipe(vision={"ffn": 41})
    with pytest.raises(ValueError, match=r"found vision\.ffn 41 for 2 ranks"):
        transformer_config(odd, parallel=Layout(tp=2), **sizes)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("token", [None, 300])
def test_an_image_token_has_to_be_said(token: int | None) -> None:
    model = recipe(vision={"image_token": None})
    with pytest.raises(ValueError, match=f"found image token {token}, expected an id below 300"):
        build_model(
            model,
            vocab_size=300,
            sequence_tokens=128,
            rope_base=1e4,
            parallel=Layout(),
            image_token=token,
        )
