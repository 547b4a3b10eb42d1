"""A model that ranks share, against transformers' on one process: logits and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.trainer.judges import (
    VOCAB,
    apart,
    recipe_of,
    released_names,
    transformers_model,
)
from tests.trainer.convert.sharded import answers, batch, whole_logits
from tests.trainer.models.step import whole
from tests.trainer.ranks import run_ranks
from trainer.convert.layouts import released
from trainer.convert.names import parameters
from trainer.megatron.start import Layout

RECIPES = [
    recipe_of(layers=4),
    recipe_of(layers=2, mixers=("lightning",), hidden=32),
    recipe_of(layers=2, mixers=("softmax",), heads=8, head_dim=16, hidden=96, experts=(8, 3, 48)),
]


@dataclass
class Judge:
    """transformers' model of a recipe: where its weights are, and what it computes."""

    folder: Path
    logits: Tensor
    gradients: dict[str, Tensor]


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> list[Judge]:
    torch.set_num_threads(1)
    found = []
    tokens, labels = batch()
    for recipe in RECIPES:
        folder = tmp_path_factory.mktemp("weights")
        model = transformers_model(recipe)
        model.save_pretrained(folder)
        logits = model(tokens, use_cache=False).logits.flatten(0, 1)
        # -100 is no label there either.
        torch.autograd.backward(cross_entropy(logits, labels.flatten()))
        gradients = released_names({name: one.grad for name, one in model.named_parameters()})
        found.append(Judge(folder, logits.detach(), gradients))
    return found


@pytest.mark.parametrize(
    "layout", [Layout(tp=2), Layout(pp=2), Layout(ep=2), Layout()], ids=["tp", "pp", "ep", "dp"]
)
def test_two_ranks_compute_what_transformers_does(layout: Layout, judges: list[Judge]) -> None:
    """Logits to 1e-5 of the largest, gradients to 1e-4 of each tensor's largest, in float32."""
    ranks = run_ranks(answers, 2, RECIPES, layout, [judge.folder for judge in judges])
    for number, (recipe, judge) in enumerate(zip(RECIPES, judges, strict=True)):
        mine = [answer[number] for answer in ranks]
        step = whole([answer.part for answer in mine])
        step.margin.check()
        assert apart(whole_logits(mine), judge.logits) < 1e-5
        table = parameters(recipe, VOCAB)
        gradients = {
            key: tensor
            for name, gradient in step.gradients.items()
            for key, tensor in released(table[name], gradient, recipe)
        }
        assert gradients.keys() == judge.gradients.keys()
        for key, expected in judge.gradients.items():
            if expected.any():
                assert apart(gradients[key], expected) < 1e-4, key
            else:
                assert not gradients[key].any(), key  # an expert that no token took
