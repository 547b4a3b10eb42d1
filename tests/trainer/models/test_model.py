"""What a model computes, on one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import ModuleSpec
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.trainer.models.small import LENGTH, VOCAB, build, cuts, recipe, tokens
from trainer.megatron.start import Layout
from trainer.models import mixers
from trainer.models.build import count_parameters, transformer_config
from trainer.models.recipe import ModelRecipe
from trainer.models.segments import pack

pytestmark = pytest.mark.usefixtures("alone")
RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "models"


def test_parameters_of_the_released_model() -> None:
    sizes = ModelRecipe(**yaml.safe_load((RECIPES / "minimax-text-01.yaml").read_text()))
    total, active = count_parameters(sizes, 200_064)
    # 80 layers of 3·32 expert matrices and a router, norms; 70 of 5 projections; 10 with GQA.
    h, inner, ffn = 6144, 64 * 128, 9216
    experts = 80 * 32 * 3 * h * ffn
    rest = 80 * (32 * h + 2 * h) + h + 70 * (5 * h * inner + inner)
    rest += 10 * (2 * h * inner + 2 * h * 8 * 128)
    assert total == experts + rest + 2 * 200_064 * h
    assert active == experts // 16 + rest
    assert round(total / 1e9, 2) == 456.09
    assert round(active / 1e9, 3) == 45.945


@pytest.mark.parametrize("mixer", ["lightning", "softmax"])
def test_documents_do_not_see_each_other(mixer: str) -> None:
    model = build(recipe(mixers=[mixer], experts={"capacity_factor": None}))
    first, packed = tokens(2), pack(cuts(2), LENGTH)
    other = first.clone()
    other[5:20] = (first[5:20] + 1) % VOCAB  # the second document of the first sequence
    with torch.no_grad():
        before, after = (model(ids, packed_seq_params=packed) for ids in (first, other))
    assert torch.equal(before[:5], after[:5])
    assert torch.equal(before[20:], after[20:])
    assert not torch.isclose(before[5:20, :VOCAB], after[5:20, :VOCAB]).all(1).any()


@pytest.mark.parametrize("mixer", ["lightning", "softmax"])
def test_a_document_is_read_the_same_anywhere(mixer: str) -> None:
    model = build(recipe(mixers=[mixer], experts={"capacity_factor": None}))
    whole = tokens(1)
    moved = torch.cat([whole[9:20], whole[:9], whole[20:]])
    with torch.no_grad():
        ends = torch.tensor([0, 9, 20, LENGTH], dtype=torch.int32)
        here = model(whole, packed_seq_params=pack(ends, LENGTH))
        ends = torch.tensor([0, 11, 20, LENGTH], dtype=torch.int32)
        there = model(moved, packed_seq_params=pack(ends, LENGTH))
    torch.testing.assert_close(here[9:20], there[:11], rtol=1e-5, atol=1e-5)


def test_without_boundaries_each_sequence_is_one_document() -> None:
    model, ids = build(), tokens(2)
    ends = torch.tensor([0, LENGTH, 2 * LENGTH], dtype=torch.int32)
    with torch.no_grad():
        assert torch.equal(model(ids), model(ids, packed_seq_params=pack(ends, LENGTH)))


def test_a_sequence_is_the_same_in_any_company() -> None:
    model = build(recipe(experts={"capacity_factor": 0.8}))
    sequences = tokens(4).view(4, LENGTH)

    def losses(*order: int) -> list[Tensor]:
        ids = sequences[list(order)].flatten()
        return list(model(ids, ids.roll(-1) * 0 + 7).view(-1, LENGTH))

    with torch.no_grad():
        a, b, c, d = losses(0, 1, 2, 3)
        c2, a2 = losses(2, 0)
        b2, d2 = losses(1, 3)
    for one, two in ((a, a2), (b, b2), (c, c2), (d, d2)):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fp32_head", [False, True])
def test_losses_are_those_of_the_logits(fp32_head: bool) -> None:
    model = build(recipe(fp32_head=fp32_head), dtype=torch.bfloat16)
    assert model.output_layer.weight.dtype == (torch.float32 if fp32_head else torch.bfloat16)
    ids = tokens(2)
    labels = ids.roll(-1)
    labels[::7] = -100
    with torch.no_grad():
        logits, losses = model(ids), model(ids, labels)
    assert logits.shape == (2 * LENGTH, 320)
    assert (logits[:, VOCAB:] == -torch.inf).all()
    expected = cross_entropy(logits.float(), labels, reduction="none")
    tolerance = 1e-5 if fp32_head else 2e-2
    torch.testing.assert_close(losses, expected, rtol=tolerance, atol=tolerance)
    assert (losses[::7] == 0).all()


@pytest.mark.parametrize("every", [2, 9, 1000])
def test_the_sum_of_few_losses_is_that_of_all(every: int) -> None:
    """Where few tokens have a label the head makes theirs alone: the same sum and gradients."""
    model = build(recipe())
    ids = tokens(2)
    labels = torch.full_like(ids, -100)
    labels[5::every] = ids.roll(-1)[5::every]
    if every == 1000:
        labels[:] = -100
    found = []
    for reduction in ("none", "sum"):
        model.zero_grad()
        total = model(ids, labels, reduction=reduction).sum()
        total.backward()
        found.append((total.detach(), [parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("residual", ["deepnorm", "pre"])
def test_every_parameter_learns(residual: str) -> None:
    model = build(recipe(residual=residual))
    ids = tokens(2)
    model(ids, ids.roll(-1)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("layout", "changes", "named"),
    [
        (Layout(tp=4), {}, "kv_heads 2"),
        (Layout(ep=3), {}, "experts.count 4"),
        (Layout(pp=3), {}, "layers 4"),
        (Layout(tp=2), {"vocab_size": 40}, "40 entries"),
    ],
)
def test_a_layout_that_cannot_cut_the_model(
    layout: Layout, changes: dict[str, Any], named: str
) -> None:
    arguments: dict[str, Any] = {"vocab_size": VOCAB, "sequence_tokens": LENGTH} | changes
    with pytest.raises(ValueError, match=named):
        transformer_config(recipe(), rope_base=1e4, parallel=layout, **arguments)


class Shift(MegatronModule):  # type: ignore[misc]
    """A mixer of another architecture: each token adds the one before it."""

    def __init__(self, config: Any, **_: Any) -> None:
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.empty(32, 32))

    def forward(self, x: Tensor, **_: Any) -> tuple[Tensor, None]:
        return torch.roll(x, 1, 0) @ self.weight, None

    def deviations(self) -> dict[str, float]:
        return {"weight": 0.1}


def test_another_mixer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mixers.MIXERS, "shift", ModuleSpec(module=Shift))
    model = build(recipe(mixers=["shift", "lightning"]))
    ids = tokens(1)
    model(ids, ids).sum().backward()
    weight = model.decoder.layers[0].self_attention.weight
    assert float(weight.detach().std()) == pytest.approx(0.1, rel=0.1)
    assert weight.grad.abs().max() > 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="'mamba', expected one of lightning, softmax"):
        build(recipe(mixers=["mamba"]))
    with pytest.raises(ValueError, match="expected whole sequences of 32"):
        build()(tokens(2)[:40])
