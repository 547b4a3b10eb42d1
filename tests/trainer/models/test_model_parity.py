"""The same step on any layout of ranks: routing, loss and gradients against one process."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from tests.trainer.models.small import LENGTH, VOCAB, recipe
from tests.trainer.models.step import SEQUENCES, Whole, run, whole
from tests.trainer.ranks import run_ranks
from trainer.megatron.start import Layout

MODELS = {
    # Capacity and loss bite: a fifth of the slots is dropped, and the auxiliary loss is strong.
    "drops": recipe(experts={"capacity_factor": 0.9, "aux_loss": {"coefficient": 0.1}}),
    "dropless": recipe(experts={"capacity_factor": None}, residual="pre"),
}

PADDED = ("embedding.word_embeddings.weight", "output_layer.weight")


@cache
def steps(layout: Layout, world: int, recompute: bool = False) -> dict[str, Whole]:
    """A step of each model; processes take seconds to start, so they are started once."""
    ranks = run_ranks(run, world, list(MODELS.values()), layout, recompute)
    return {name: whole([parts[i] for parts in ranks]) for i, name in enumerate(MODELS)}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("layout", "world"),
    [
        pytest.param(Layout(), 2, id="dp2"),
        pytest.param(Layout(tp=2), 2, id="tp2"),
        pytest.param(Layout(pp=2), 2, id="pp2"),
        pytest.param(Layout(ep=2), 2, id="ep2"),
        pytest.param(Layout(tp=2, ep=2), 2, id="tp2-ep2"),
        pytest.param(Layout(tp=2, pp=2), 4, id="tp2-pp2"),
    ],
)
def test_layouts_agree_with_one_process(layout: Layout, world: int, model: str) -> None:
    compare(steps(layout, world)[model], steps(Layout(), 1)[model])


@pytest.mark.parametrize("model", MODELS)
def test_recomputation_changes_nothing(model: str) -> None:
    found = steps(Layout(), 1, recompute=True)[model]
    for layer, choices in found.routing.items():  # once forward, once again in backward
        assert len(choices) == 2 * SEQUENCES * LENGTH, layer
    found.routing = steps(Layout(), 1)[model].routing
    compare(found, steps(Layout(), 1)[model])


def compare(found: Whole, expected: Whole) -> None:
    assert found.routing.keys() == expected.routing.keys() == set(range(4))
    for layer, choices in expected.routing.items():
        assert torch.equal(found.routing[layer], choices), f"layer {layer} routes otherwise"
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.gradients.keys() == expected.gradients.keys()
    for name, padded in expected.gradients.items():
        rows = VOCAB if name in PADDED else len(padded)
        gradient, other = padded[:rows], found.gradients[name][:rows]
        assert gradient.shape == other.shape, name
        largest = gradient.abs().max()
        assert largest > 0, name
        error = (other - gradient).abs().max() / largest
        assert error < 1e-5, f"{name}: {error:.1e}"
    flat = [gradient.flatten().double() for gradient in expected.gradients.values()]
    norm = torch.cat(flat).norm().item()
    assert found.norms == pytest.approx([norm] * len(found.norms), rel=1e-5)


def test_what_is_compared_bites() -> None:
    drops, dropless = (steps(Layout(), 1)[name] for name in ("drops", "dropless"))
    assert all((choices == -1).any() for choices in drops.routing.values())
    assert not any((choices == -1).any() for choices in dropless.routing.values())
    for layout, world in ((Layout(), 1), (Layout(tp=2), 2)):
        for name in PADDED:
            padding = steps(layout, world)["drops"].gradients[name][VOCAB:]
            assert padding.numel()
            assert not padding.any(), "padding rows are not to be trained"
