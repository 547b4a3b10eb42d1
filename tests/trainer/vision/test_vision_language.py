"""The whole model: against LLaVA-NeXT of transformers, the plain reference, and text alone."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MiniMaxConfig,
)

from benchmarks.trainer.judges import released_names
from tests.trainer.vision.cases import (
    IMAGE,
    LENGTH,
    ONE_TILE,
    VISION,
    VOCAB,
    Shown,
    apart,
    batch,
    build,
    recipe,
    shown,
)
from trainer.convert.config import write_config
from trainer.convert.layouts import megatron, released
from trainer.convert.names import parameters
from trainer.models.language_model import LanguageModel
from trainer.models.recipe import ModelRecipe
from trainer.models.segments import pack
from trainer.vision.images import Images
from trainer.vision.reference import VisionLanguageReference
from vl_data.tiling import TILINGS, plan

pytestmark = pytest.mark.usefixtures("alone")


def forward(model: LanguageModel, one: Shown, images: Images | None = None) -> Tensor:
    """Logits ``[LENGTH, VOCAB]`` with segments."""
    found: Tensor = model(
        one.tokens,
        packed_seq_params=pack(one.cu_seqlens, LENGTH),
        images=one.images if images is None else images,
    )
    return found[:, :VOCAB]


def released_weights(model: LanguageModel, model_recipe: ModelRecipe) -> dict[str, Tensor]:
    table = parameters(model_recipe, VOCAB)
    return {
        key: tensor.detach().clone().requires_grad_()
        for name, parameter in model.named_parameters()
        for key, tensor in released(table[name], parameter, model_recipe)
    }


def gradients_apart(
    model: LanguageModel, model_recipe: ModelRecipe, expected: dict[str, Tensor | None]
) -> dict[str, float]:
    """Of each released key, relative to the largest of its tensor."""
    table, found = parameters(model_recipe, VOCAB), {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        for key, gradient in released(table[name], parameter.grad, model_recipe):
            other = expected[key]
            if other is None or not other.any():
                assert not gradient.any(), key
            elif key.endswith("k_proj.bias"):  # it cancels in the softmax: rounding is left
                assert gradient.abs().max() < 1e-3 * parameter.grad.abs().max(), key
            else:
                found[key] = apart(gradient, other)
    return found


def llava_next(model_recipe: ModelRecipe) -> Any:
    """transformers' LLaVA-NeXT of a tower and MiniMax's text model, which has full rotary."""
    text = write_config(
        model_recipe.model_copy(update={"vision": None}),
        "transformers", vocab_size=VOCAB, rope_base=10_000.0, positions=512,
    )  # fmt: skip
    tower = CLIPVisionConfig(
        num_hidden_layers=VISION["layers"],
        hidden_size=VISION["hidden"],
        num_attention_heads=VISION["heads"],
        intermediate_size=VISION["ffn"],
        patch_size=VISION["patch"],
        image_size=VISION["tile"],
        hidden_act="gelu",
    )
    config = LlavaNextConfig(
        vision_config=tower,
        text_config=MiniMaxConfig(**text, block_size=16),
        image_grid_pinpoints=[list(grid) for grid in TILINGS["tiny56"].grids],
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    theirs = cast(Any, LlavaNextForConditionalGeneration)(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            width = parameter.shape[-1] if parameter.dim() > 1 else 9
            parameter.copy_(torch.randn(parameter.shape) * 0.7 / width**0.5)
            if name.endswith("norm.weight"):
                parameter += 1
    return theirs


def names_of_theirs(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names in memory as the released ones."""
    text = {name: one for name, one in tensors.items() if "language_model." in name}
    moved = {}
    for name, tensor in (tensors | released_names(text)).items():
        bare = name.removeprefix("model.")
        if bare.startswith("language_model."):
            bare = bare.replace("language_model.", "language_model.model.", 1)
        elif bare.startswith("lm_head."):
            bare = f"language_model.{bare}"
        elif bare.startswith("vision_tower."):
            bare = bare.replace("vision_tower.", "vision_tower.vision_model.", 1)
        moved[bare] = tensor
    return moved


def test_equals_llava_next() -> None:
    """Logits to 1e-5 of the largest and gradients to 1e-4, of sequences with and without images."""
    full = recipe(rotary_dim=8)
    theirs, ours = llava_next(full), build(full)
    named = names_of_theirs(dict(theirs.named_parameters()))
    with torch.no_grad():
        local = dict(ours.named_parameters())
        for name, parameter in parameters(full, VOCAB).items():
            rows = len(local[name])
            local[name].copy_(megatron(parameter, named.__getitem__, full, vocab_rows=rows))
    images = [plan(40, 60, "tiny56"), plan(30, 10, "tiny56"), plan(300, 120, "tiny56")]
    cases = [shown(0, [(3, images[0]), (60, images[1])]), shown(2, [(20, images[2])]), shown(1, [])]
    for one in cases:
        logits = ours(one.tokens, images=one.images)[:, :VOCAB]
        expected = theirs(one.tokens[None], use_cache=False, **as_theirs(one.images)).logits[0]
        assert apart(logits, expected) < 1e-5
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward([(logits * direction).sum(), (expected * direction).sum()])
    gradients = names_of_theirs({n: p.grad for n, p in theirs.named_parameters()})
    worst = gradients_apart(ours, full, cast(Any, gradients))
    assert len(worst) > 60
    assert max(worst.values()) < 1e-4, worst


def as_theirs(images: Images | None) -> dict[str, Tensor]:
    if images is None:
        return {}
    parts = torch.split(images.pixels, [len(one.tiles) for one in images.plans])
    most = max(map(len, parts))
    # Padded to the image of most tiles; sizes say which are padding.
    padded = [torch.cat([part, part.new_zeros(most - len(part), 3, 56, 56)]) for part in parts]
    sizes = [[one.height, one.width] for one in images.plans]
    return {"pixel_values": torch.stack(padded), "image_sizes": torch.tensor(sizes)}


def test_equals_the_reference() -> None:
    """With rotary on half the head, segments, and images of all kinds."""
    half = recipe()
    ours = build(half)
    weights = released_weights(ours, half)
    reference = VisionLanguageReference(half, weights)
    for one in batch():
        logits = forward(ours, one)
        images = one.images or Images(torch.zeros(0, 3, 56, 56), ())
        expected = reference.packed(one.tokens, one.cu_seqlens, images.pixels, images.plans)
        assert apart(logits, expected) < 1e-5
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward([(logits * direction).sum(), (expected * direction).sum()])
    worst = gradients_apart(ours, half, {key: one.grad for key, one in weights.items()})
    assert len(worst) > 60
    assert max(worst.values()) < 1e-4, worst


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_the_towers_activation_is_the_recipes(activation: str) -> None:
    model_recipe = recipe(vision={"activation": activation})
    ours = build(model_recipe)
    one = batch()[2]
    assert one.images is not None
    reference = VisionLanguageReference(model_recipe, released_weights(ours, model_recipe))
    expected = reference.packed(one.tokens, one.cu_seqlens, one.images.pixels, one.images.plans)
    assert apart(forward(ours, one), expected) < 1e-5


def test_without_an_image_it_is_the_text_model() -> None:
    """The same bits; and gradients of zero, which exist, of all that images go through."""
    with_tower, text = recipe(), recipe(vision=None)
    model, alone = build(with_tower), build(text)
    same = dict(model.named_parameters())
    for name, parameter in alone.named_parameters():
        assert torch.equal(parameter, same[name]), name
    one = shown(1, [])
    for each in (model, alone):
        each(one.tokens, one.labels, reduction="sum").backward()
    for name, parameter in alone.named_parameters():
        assert torch.equal(parameter.grad, same[name].grad), name
    rest = same.keys() - dict(alone.named_parameters()).keys()
    assert len(rest) > 20
    for name in rest:
        gradient = same[name].grad
        assert gradient is not None, name
        assert not gradient.any(), name


def test_no_image_and_no_gradient_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model, one = build(recipe()), shown(1, [])

    def never(*_: object) -> None:
        raise AssertionError("the tower ran")

    monkeypatch.setattr(model.vision_tower, "forward", never)
    with torch.no_grad():
        assert forward(model, one).isfinite().all()
    with pytest.raises(AssertionError, match="the tower ran"):
        forward(model, one)


def test_an_image_without_newlines_leaves_them_a_gradient() -> None:
    model, one = build(recipe()), batch()[3]
    model(one.tokens, one.labels, images=one.images, reduction="sum").backward()
    newline = model.projector.newline.grad
    assert newline is not None
    assert not newline.any()
    assert model.projector.mlp.linear_fc1.weight.grad.any()


def test_another_document_of_the_sequence_sees_no_image() -> None:
    model, one = build(recipe()), batch()[2]
    assert one.images is not None
    other = Images(one.images.pixels + 1, one.images.plans)
    with torch.no_grad():
        found, changed = forward(model, one), forward(model, one, other)
    cut = int(one.cu_seqlens[1])
    assert torch.equal(found[cut:], changed[cut:])
    assert torch.equal(found[:20], changed[:20])
    assert not torch.isclose(found[20:cut], changed[20:cut]).all(1).any()


@pytest.mark.parametrize("missing", [0, 1])
def test_places_and_features_have_to_be_as_many(missing: int) -> None:
    model, image = build(recipe()), plan(40, 60, "tiny56")
    one = shown(0, [(3, image)] if missing else [])
    tokens = one.tokens.clone()
    if missing:
        tokens[3] = 5
    else:
        tokens[3:10] = IMAGE
    said = "found 45 places of the image token 2 in the sequences and 46 features"
    if not missing:
        said = "found 7 places of the image token 2 in the sequences and 0 features"
    with pytest.raises(ValueError, match=said):
        model(tokens, images=one.images)


def test_a_model_without_a_tower_takes_no_images() -> None:
    one = batch()[3]
    with pytest.raises(ValueError, match="found 1 for model small-vl, expected none"):
        build(recipe(vision=None))(one.tokens, images=one.images)


def test_plans_of_the_first_stage_are_one_tile() -> None:
    thumbnail = plan(90, 90, ONE_TILE)
    assert thumbnail.tokens == 16
    with torch.no_grad():
        found = build(recipe()).projector(torch.zeros(1, 16, VISION["hidden"]), (thumbnail,))
    assert found.shape == (16, 32)


def test_weights_in_16_bits() -> None:
    """bf16 weights near the float32 model's logits, from float32 pixels."""
    one, model_recipe = batch()[2], recipe()
    model = build(model_recipe)
    half = build(model_recipe, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, parameter in half.named_parameters():
            parameter.copy_(dict(model.named_parameters())[name])
        assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
        assert apart(forward(half, one).float(), forward(model, one)) < 0.1
