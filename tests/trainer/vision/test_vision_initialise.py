"""First weights of a tower and its projector."""

from __future__ import annotations

import math

import pytest
import torch

from tests.trainer.vision.cases import LENGTH, VOCAB, recipe
from trainer.megatron.start import Layout
from trainer.models.build import build_model
from trainer.models.language_model import LanguageModel

pytestmark = pytest.mark.usefixtures("alone")
WIDE = recipe(hidden=192, vision={"hidden": 128, "ffn": 256, "layers": 3})


def draw(seed: int) -> LanguageModel:
    return build_model(
        WIDE, vocab_size=VOCAB, sequence_tokens=LENGTH, rope_base=1e4, parallel=Layout(), seed=seed
    )


def test_deviations() -> None:
    """CLIP's for the tower, Xavier for patches and projector, LLaVA-NeXT's for the newline."""
    weights = {name: one.detach() for name, one in draw(0).named_parameters()}
    h, ffn, text, layers = 128, 256, 192, 3
    block = "vision_tower.blocks.1"
    expected = {
        "vision_tower.patch_embedding": math.sqrt(2 / (3 * 14**2 + h)),
        "vision_tower.position_embedding": h**-0.5,
        f"{block}.self_attention.linear_qkv.weight": h**-0.5,
        f"{block}.self_attention.linear_proj.weight": (2 * layers * h) ** -0.5,
        f"{block}.mlp.linear_fc1.weight": (2 * h) ** -0.5,
        f"{block}.mlp.linear_fc2.weight": (2 * layers * h) ** -0.5,
        "projector.mlp.linear_fc1.weight": math.sqrt(2 / (h + text)),
        "projector.mlp.linear_fc2.weight": math.sqrt(2 / (text + text)),
    }
    for name, deviation in expected.items():
        assert float(weights[name].std()) == pytest.approx(deviation, rel=0.05), name
        assert abs(float(weights[name].mean())) < 0.1 * deviation, name
    for name, deviation in (
        ("vision_tower.class_embedding", h**-0.5),
        ("projector.newline", text**-0.5),
    ):
        assert float(weights[name].std()) == pytest.approx(deviation, rel=0.25), name
    rest = [name for name in weights if part(name) and name.endswith(("norm.weight", "bias"))]
    assert len(rest) == 2 + layers * 8 + 2
    for name in rest:
        assert torch.equal(weights[name], torch.full_like(weights[name], "norm.w" in name)), name
    assert weights[f"{block}.mlp.linear_fc1.weight"].shape == (ffn, h)


def part(name: str) -> bool:
    return name.startswith(("vision_tower.", "projector."))


def test_seeds_and_places() -> None:
    one, again, other = (dict(draw(seed).named_parameters()) for seed in (0, 0, 1))
    drawn = [name for name in one if part(name) and not name.endswith(("bias", "norm.weight"))]
    assert len(drawn) == 4 + 3 * 4 + 2
    for name in drawn:
        assert torch.equal(one[name], again[name]), name
        assert not torch.isclose(one[name], other[name]).all(), name
    name = "mlp.linear_fc1.weight"
    assert not torch.equal(
        one[f"vision_tower.blocks.0.{name}"], one[f"vision_tower.blocks.1.{name}"]
    )
