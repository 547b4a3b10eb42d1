"""Routing and experts against loops that read like their definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from tests.trainer.models.small import LENGTH, build, recipe, tokens
from trainer.models.load import take_loads
from trainer.models.recipe import ModelRecipe

pytestmark = pytest.mark.usefixtures("alone")


def layer_of(model: ModelRecipe) -> Any:
    """The mixture of experts of a model's first layer."""
    return build(model).decoder.layers[0].mlp


def by_loop(
    x: Tensor, weights: list[Tensor], sizes: ModelRecipe, real: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Output ``[T, h]``, drops of each expert, and the auxiliary losses of the sequences, of which
    so many first tokens are ``real`` and the others padding."""
    experts, (gate, gate_up, down) = sizes.experts, weights
    rows, dropped, losses = [], torch.zeros(experts.count, dtype=torch.int64), []
    for sequence, count in zip(x.view(-1, LENGTH, x.shape[1]), real, strict=True):
        probability = torch.softmax(sequence @ gate.T, 1)
        top, choice = probability.topk(experts.top_k)
        weight = top / top.sum(1, keepdim=True)
        out = torch.zeros_like(sequence)
        share = []
        for e in range(experts.count):
            slots = [
                (t, j) for t in range(count) for j in range(experts.top_k) if choice[t, j] == e
            ]
            share.append(len(slots) / max(1, count * experts.top_k))
            if experts.capacity_factor is not None:
                room = math.ceil(experts.capacity_factor * LENGTH * experts.top_k / experts.count)
                if experts.drop == "probability":
                    slots.sort(key=lambda slot: -weight[slot].item())
                dropped[e] += max(0, len(slots) - room)
                slots = slots[:room]
            for t, j in slots:
                g, u = (gate_up[e] @ sequence[t]).chunk(2)
                out = out.index_add(
                    0, torch.tensor(t), (weight[t, j] * (down[e] @ (silu(g) * u)))[None]
                )
        scale = {"paper": 1 / experts.count, "megatron": experts.count}[experts.aux_loss.scale]
        products = torch.tensor(share) * probability[:count].sum(0) / max(1, count)
        losses.append(experts.aux_loss.coefficient * scale * products.sum())
        rows.append(out)
    return torch.cat(rows), dropped, torch.stack(losses)


@pytest.mark.parametrize(
    "experts",
    [
        pytest.param({"capacity_factor": None}, id="dropless"),
        pytest.param({"capacity_factor": 0.7}, id="by probability"),
        pytest.param({"capacity_factor": 0.7, "drop": "position"}, id="by position"),
        pytest.param({"top_k": 3, "aux_loss": {"coefficient": 5.0, "scale": "paper"}}, id="paper"),
    ],
)
@pytest.mark.parametrize("real", [[LENGTH, LENGTH], [0, 21, LENGTH]], ids=["full", "padded"])
def test_layer_is_the_loop(experts: dict[str, object], real: list[int]) -> None:
    sizes = recipe(experts=experts)
    layer = layer_of(sizes)
    shape = len(real) * LENGTH, 32
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), requires_grad=True)
    weights = [layer.router.weight, layer.experts.gate_up, layer.experts.down]
    cotangent = torch.randn(shape, generator=torch.Generator().manual_seed(4))

    expected, dropped, losses = by_loop(x, weights, sizes, real)
    total = (expected * cotangent).sum() + (torch.tensor(real) * losses).sum()
    wanted = torch.autograd.grad(total, [x, *weights])

    if sum(real) < len(x):
        layer.router.padding = torch.cat([torch.arange(LENGTH) >= count for count in real])
    out = layer(x[:, None])[0][:, 0]
    found = torch.autograd.grad((out * cotangent).sum(), [x, *weights])

    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    for one, two in zip(found, wanted, strict=True):
        assert (one - two).abs().max() < 1e-5 * two.abs().max()
    loads = take_loads([layer])
    assert loads.tokens.tolist() == [sum(real)]
    assert loads.slots.sum() == sum(real) * sizes.experts.top_k
    assert torch.equal(loads.dropped[0], dropped)
    assert (dropped.sum() > 0) == (sizes.experts.capacity_factor is not None)
    mean = (torch.tensor(real) * losses).sum() / sum(real)
    torch.testing.assert_close(loads.aux[0], mean)


def test_the_dispatched_layer_is_the_direct_one() -> None:
    layer = layer_of(recipe(experts={"capacity_factor": 0.7}))
    x = torch.randn(2 * LENGTH, 1, 32, generator=torch.Generator().manual_seed(3))
    answers = []
    for direct in (True, False):
        layer.all_here = direct
        layer.zero_grad()
        out, _ = layer(x)
        out.square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in layer.parameters()]
        answers.append([out.detach(), *gradients])
    for one, two in zip(*answers, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_loads_are_counted_once_a_step_and_start_anew() -> None:
    model, ids = build(recompute=True), tokens(2)
    with torch.no_grad():
        model(ids, ids)
    assert not take_loads([model]).slots.any()
    model(ids, ids).sum().backward()
    loads = take_loads([model])
    assert loads.layers.tolist() == [0, 1, 2, 3]
    assert (loads.slots.sum(1) == 2 * LENGTH * 2).all()
    assert (loads.aux > 0).all()
    assert not take_loads([model]).slots.any()
    with pytest.raises(ValueError, match="no router"):
        take_loads([torch.nn.Linear(1, 1)])
