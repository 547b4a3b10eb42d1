"""The tower against transformers' CLIPVisionModel, and tiles by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel

from tests.trainer.vision.cases import VISION, apart, build, recipe
from trainer.convert import ConversionError
from trainer.convert.clip import import_clip
from trainer.convert.layouts import released
from trainer.convert.vision_names import TOWER, tower_parameters
from trainer.models.language_model import LanguageModel
from trainer.vision.positions import resized_positions

pytestmark = pytest.mark.usefixtures("alone")

CLIP = {
    "num_hidden_layers": VISION["layers"],
    "hidden_size": VISION["hidden"],
    "num_attention_heads": VISION["heads"],
    "intermediate_size": VISION["ffn"],
    "patch_size": VISION["patch"],
    "image_size": VISION["tile"],
}
TILES = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(1))


def clip(folder: Path, activation: str, whole: bool = False, **changes: Any) -> Any:
    """transformers' tower with random weights, saved by itself or as a part of CLIP."""
    torch.manual_seed(3)
    config = CLIP | {"hidden_act": activation} | changes
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = (
        cast(Any, CLIPModel)(CLIPConfig(vision_config=config, text_config=text))
        if whole
        else cast(Any, CLIPVisionModel)(CLIPVisionConfig(**config))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            width = parameter.shape[-1] if parameter.dim() > 1 else 25
            parameter.copy_(torch.randn(parameter.shape) / width**0.5)
    model.eval().save_pretrained(folder)
    return model.vision_model if whole else model


def features(theirs: Any, pixels: Tensor, **options: Any) -> Tensor:
    """Their last hidden state, before the norm behind the blocks, without the class."""
    found: Tensor = theirs(pixels, output_hidden_states=True, **options).hidden_states[-1][:, 1:]
    return found


def small(**vision: Any) -> LanguageModel:
    return build(recipe(vision=vision), seed=9)


@pytest.mark.parametrize("whole", [False, True], ids=["tower", "clip"])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_equals_transformers(tmp_path: Path, activation: str, whole: bool) -> None:
    theirs = clip(tmp_path, activation, whole)
    model = small(activation=activation)
    import_clip(tmp_path, model)
    ours, expected = model.vision_tower(TILES), features(theirs, TILES)
    assert ours.shape == (3, 16, VISION["hidden"])
    assert apart(ours, expected) < 1e-5
    direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    torch.autograd.backward([(ours * direction).sum(), (expected * direction).sum()])
    gradients = dict(theirs.named_parameters())
    local = dict(model.named_parameters())
    for one in tower_parameters(recipe().vision):  # type: ignore[arg-type]
        gradient = local[one.name].grad
        assert gradient is not None
        for key, part in released(one, gradient, recipe()):
            other = gradients[key.removeprefix(f"{TOWER}.")].grad
            if key.endswith("k_proj.bias"):  # it cancels in the softmax: only rounding is left
                assert part.abs().max() < 1e-4
            else:
                assert apart(part, other) < 1e-4, key


@pytest.mark.parametrize("size", [28, 98, 110])
def test_positions_of_another_size_are_interpolated(tmp_path: Path, size: int) -> None:
    """Of images with fewer and with more patches; a part of one is cut off, as theirs does."""
    theirs, model = clip(tmp_path, "gelu", image_size=size), small()
    import_clip(tmp_path, model)
    found = model.vision_tower.position_embedding
    table = theirs.state_dict()
    (before,) = (table[key] for key in table if key.endswith("position_embedding.weight"))
    assert len(before) == 1 + (size // 14) ** 2 != len(found)
    assert torch.equal(found[0], before[0])
    ours = model.vision_tower(TILES)
    assert apart(ours, features(theirs, TILES, interpolate_pos_encoding=True)) < 1e-5
    again = resized_positions(found.detach(), 4)
    assert torch.equal(again, found)


def test_positions_that_are_no_grid_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found 4 positions, expected a square number"):
        resized_positions(torch.zeros(4, 8), 2)
    clip(tmp_path, "gelu", patch_size=7)
    with pytest.raises(ConversionError, match="image_size: found 56, expected with patch_size 7"):
        import_clip(tmp_path, small())


def test_clips_activation_is_part_of_it(tmp_path: Path) -> None:
    clip(tmp_path, "quick_gelu")
    with pytest.raises(ConversionError, match="found activation 'quick_gelu', expected 'gelu'"):
        import_clip(tmp_path, small())
    with pytest.raises(ConversionError, match=r"found layers 2, expected 3; activation"):
        import_clip(tmp_path, small(layers=3))


def test_a_checkpoint_without_a_tower_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    clip(tmp_path, "gelu")
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match=r"found no key vision_model\.embeddings\.class_emb"):
        import_clip(tmp_path, small())
    save_file({"embeddings.class_embedding": torch.zeros(4)}, tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match=r"embedding: found \[4\], expected \[24\]"):
        import_clip(tmp_path, small())


def test_tiles_do_not_see_each_other() -> None:
    tower = small().vision_tower
    together = tower(TILES)
    for number, tile in enumerate(TILES):
        torch.testing.assert_close(together[number], tower(tile[None])[0], rtol=1e-5, atol=1e-5)


def test_recomputation_changes_nothing() -> None:
    found = []
    for again in (False, True):
        model = build(recipe(), seed=9, recompute=again)
        model.vision_tower(TILES).square().sum().backward()
        found.append([p.grad for p in model.vision_tower.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert torch.equal(one, other)


def test_a_tile_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 70, 70\), expected \[tiles, 3, 56, 56\]"):
        small().vision_tower(torch.zeros(2, 3, 70, 70))
