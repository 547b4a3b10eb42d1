"""First weights: their deviations, and what they depend on."""

from __future__ import annotations

import math

import pytest
import torch

from tests.trainer.models.small import VOCAB, recipe
from trainer.megatron.start import Layout
from trainer.models.build import build_model
from trainer.models.initialise import initialise
from trainer.models.language_model import LanguageModel

pytestmark = pytest.mark.usefixtures("alone")
SIZES = recipe(hidden=256, heads=8, head_dim=32, kv_heads=2)


def draw(seed: int) -> LanguageModel:
    return build_model(
        SIZES,
        vocab_size=VOCAB,
        sequence_tokens=32,
        rope_base=1e4,
        parallel=Layout(),
        seed=seed,
    )


def test_deviations() -> None:
    weights = {name: weight.detach() for name, weight in draw(0).named_parameters()}
    h, inner, shared, ffn = 256, 256, 64, 24
    beta = (8 * 4) ** -0.25

    def check(found: torch.Tensor, fan_in: int, fan_out: int, gain: float) -> None:
        assert float(found.std()) == pytest.approx(
            gain * math.sqrt(2 / (fan_in + fan_out)), rel=0.05
        )

    q, k, v = (
        weights["decoder.layers.0.self_attention.linear_qkv.weight"].view(8, 3, 32, h).unbind(1)
    )
    for part, gain in ((q, 1.0), (k, 1.0), (v, beta)):
        check(part, h, inner, gain)
    check(weights["decoder.layers.0.self_attention.linear_gate.weight"], h, inner, beta)
    check(weights["decoder.layers.0.self_attention.linear_proj.weight"], inner, h, beta)
    grouped = weights["decoder.layers.1.self_attention.linear_qkv.weight"].view(2, 6, 32, h)
    check(grouped[:, :4], h, inner, 1.0)
    check(grouped[:, 4], h, shared, 1.0)
    check(grouped[:, 5], h, shared, beta)
    for name in ("gate_up", "down"):
        for expert in weights[f"decoder.layers.0.mlp.experts.{name}"]:
            check(expert, h, ffn, beta)
    check(weights["decoder.layers.0.mlp.router.weight"], h, 4, 1.0)
    for name in ("embedding.word_embeddings.weight", "output_layer.weight"):
        check(weights[name][:VOCAB], h, VOCAB, 1.0)
        assert not weights[name][VOCAB:].any()
    assert all((weight == 1).all() for name, weight in weights.items() if "norm" in name)


def test_seeds_and_places() -> None:
    one, again, other = (dict(draw(s).named_parameters()) for s in (0, 0, 1))
    matrices = [name for name, weight in one.items() if weight.dim() > 1]
    for name in matrices:
        assert torch.equal(one[name], again[name]), name
        assert not torch.isclose(one[name][:VOCAB], other[name][:VOCAB]).all(), name
    experts = one["decoder.layers.0.mlp.experts.down"]
    assert not torch.equal(experts[0], experts[1])
    name = "self_attention.linear_proj.weight"
    assert not torch.equal(one[f"decoder.layers.0.{name}"], one[f"decoder.layers.1.{name}"])


def test_a_parameter_without_a_deviation_is_refused() -> None:
    model = draw(0)
    model.decoder.layers[0].extra = torch.nn.Linear(2, 2, bias=False)
    with pytest.raises(ValueError, match=r"no deviation for decoder\.layers\.0\.extra\.weight"):
        initialise(model, 0)
