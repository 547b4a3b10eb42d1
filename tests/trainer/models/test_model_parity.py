"""The same step on any layout of ranks: routing, loss and gradients against one process."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.trainer.margins import MARGIN, Margin, NearTie
from tests.trainer.models.agreement import LAYOUTS, MODELS, PADDED, compare, steps
from tests.trainer.models.small import LENGTH, VOCAB
from tests.trainer.models.step import SEQUENCES
from trainer.megatron.start import Layout

QUICK = ("dp 2", "tp 2", "pp 2", "ep 2", "tp 2, ep 2", "tp 2, pp 2")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "layout",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in LAYOUTS],
)
def test_layouts_agree_with_one_process(layout: str, model: str) -> None:
    apart = compare(steps(*LAYOUTS[layout])[model], steps(Layout(), 1)[model])
    assert apart.is_within, apart


@pytest.mark.parametrize("model", MODELS)
def test_recomputation_changes_nothing(model: str) -> None:
    found, alone = steps(Layout(), 1, recompute=True)[model], steps(Layout(), 1)[model]
    for layer, choices in found.routing.items():  # once forward, once again in backward
        assert len(choices) == 2 * SEQUENCES * LENGTH, layer
    apart = compare(replace(found, routing=alone.routing), alone)
    assert apart.is_within, apart


def test_what_is_compared_bites() -> None:
    drops, dropless = (steps(Layout(), 1)[name] for name in ("drops", "dropless"))
    assert drops.routing.keys() == dropless.routing.keys() == set(range(4))
    assert all((choices == -1).any() for choices in drops.routing.values())
    assert not any((choices == -1).any() for choices in dropless.routing.values())
    for layout, world in ((Layout(), 1), (Layout(tp=2), 2)):
        for name in PADDED:
            padding = steps(layout, world)["drops"].gradients[name][VOCAB:]
            assert padding.numel()
            assert not padding.any(), "padding rows are not to be trained"


def test_a_close_decision_is_told_as_such() -> None:
    drops, dropless = (steps(Layout(), 1)[name] for name in ("drops", "dropless"))
    for margin in (drops.margin, dropless.margin):
        assert MARGIN <= margin.choices < 1
    assert MARGIN <= drops.margin.edges < 1
    assert dropless.margin.edges == torch.inf  # nothing is dropped
    for close in (Margin(choices=MARGIN / 2), Margin(edges=MARGIN / 2)):
        with pytest.raises(NearTie, match=r"found a margin of 5.0e-05 .* choose another seed"):
            compare(drops, replace(drops, margin=close))


def test_a_difference_is_found() -> None:
    alone, name = steps(Layout(), 1)["drops"], "decoder.layers.3.mlp.experts.down"
    wrong = alone.gradients[name].clone()
    wrong[1, 2, 3] += 2e-5 * wrong.abs().max()
    apart = compare(replace(alone, gradients=alone.gradients | {name: wrong}), alone)
    assert apart.where == name
    assert not apart.is_within
    assert not compare(replace(alone, loss=alone.loss * (1 + 2e-6)), alone).is_within
    assert not compare(replace(alone, norms=[alone.norms[0] * (1 + 2e-5)]), alone).is_within
    other = alone.routing[2].flip(1)
    with pytest.raises(AssertionError, match="layer 2 routes otherwise"):
        compare(replace(alone, routing=alone.routing | {2: other}), alone)
