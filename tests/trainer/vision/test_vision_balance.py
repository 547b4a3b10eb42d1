"""A frozen language model does not train what comes before it for the balance of its experts."""

from __future__ import annotations

import pytest
import torch

from tests.trainer.vision.cases import LENGTH, batch, build, recipe
from trainer.models.load import take_loads
from trainer.models.segments import pack
from trainer.vision.parts import train_only

pytestmark = pytest.mark.usefixtures("alone")
EXPERTS = {"count": 4, "top_k": 2, "ffn": 24}


def gradients(coefficient: float, train: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], float]:
    """Of a model that trains some parts; and its auxiliary loss as it is logged."""
    sizes = EXPERTS | {"aux_loss": {"coefficient": coefficient}}
    model = build(recipe(experts=sizes), seed=3)
    train_only(model, train)
    one = batch()[0]
    model(
        one.tokens, one.labels, pack(one.cu_seqlens, LENGTH), "sum", one.images
    ).backward()  # fmt: skip
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return found, float(take_loads([model]).aux.sum())


def test_only_routers_that_train_are_balanced() -> None:
    parts = ("vision", "projector")
    without, _ = gradients(0.0, parts)
    frozen, aux = gradients(100.0, parts)
    assert aux > 0  # it is still counted
    assert without.keys() == frozen.keys()
    assert all(torch.equal(frozen[name], one) for name, one in without.items())
    every, _ = gradients(100.0, (*parts, "language"))
    assert not torch.equal(every["projector.newline"], without["projector.newline"])
