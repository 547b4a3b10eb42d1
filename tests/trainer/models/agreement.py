"""How far a step on a layout of ranks is from the same step of one process, and which layouts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from tests.trainer.models.small import VOCAB, recipe
from tests.trainer.models.step import Whole, run, whole
from tests.trainer.ranks import run_ranks
from trainer.megatron.start import Layout

LAYOUTS = {
    "dp 2": (Layout(), 2),
    "tp 2": (Layout(tp=2), 2),
    "pp 2": (Layout(pp=2), 2),
    "ep 2": (Layout(ep=2), 2),
    "tp 2, ep 2": (Layout(tp=2, ep=2), 2),
    "tp 2, pp 2": (Layout(tp=2, pp=2), 4),
    "tp 2, dp 2": (Layout(tp=2), 4),
    "pp 2, dp 2": (Layout(pp=2), 4),
    "pp 2, ep 2": (Layout(pp=2, ep=2), 4),
    "ep 2, dp 4": (Layout(ep=2), 4),
    "tp 2, ep 2, dp 2": (Layout(tp=2, ep=2), 4),
}
"""By name: the layout, and how many processes. Sequence parallelism goes with tp."""

MODELS = {
    # Capacity and loss bite: a fifth of the slots is dropped, and the auxiliary loss is strong.
    "drops": recipe(experts={"capacity_factor": 0.9, "aux_loss": {"coefficient": 0.1}}),
    "dropless": recipe(experts={"capacity_factor": None}, residual="pre"),
}

PADDED = ("embedding.word_embeddings.weight", "output_layer.weight")
"""Parameters with rows for padding of the vocabulary, of which layouts have more or fewer."""

LOSS, GRADIENT = 1e-6, 1e-5
"""The most that losses and gradients may differ by."""


@cache
def steps(layout: Layout, world: int, recompute: bool = False) -> dict[str, Whole]:
    """A step of each model; processes take seconds to start, so they are started once."""
    ranks = run_ranks(run, world, list(MODELS.values()), layout, recompute)
    return {name: whole([parts[i] for parts in ranks]) for i, name in enumerate(MODELS)}


@dataclass(frozen=True)
class Apart:
    """Differences of a step from another.

    Attributes:
        loss: as a part of the loss.
        gradient: the largest of all tensors, as ``max|a - b| / max|b|`` of its tensor.
        where: that tensor.
        norm: the largest of all ranks, of the norm of all gradients, as a part of it.
    """

    loss: float
    gradient: float
    where: str
    norm: float

    @property
    def is_within(self) -> bool:
        """Whether all are within the limits."""
        return self.loss <= LOSS and self.gradient <= GRADIENT and self.norm <= GRADIENT


def compare(found: Whole, alone: Whole) -> Apart:
    """How far a step is from that of one process.

    Raises:
        NearTie: where a router decided too closely for the comparison to mean anything.
        AssertionError: where a token is routed otherwise, or not all is there that should be.
    """
    alone.margin.check()
    found.margin.check()
    assert found.routing.keys() == alone.routing.keys()
    for layer, choices in alone.routing.items():
        assert torch.equal(found.routing[layer], choices), f"layer {layer} routes otherwise"
    assert found.gradients.keys() == alone.gradients.keys()
    distances = {name: _distance(found.gradients[name], alone.gradients[name], name)
                 for name in alone.gradients}  # fmt: skip
    where = max(distances, key=lambda name: distances[name])
    flat = [x.flatten().double() for x in alone.gradients.values()]
    norm = torch.cat(flat).norm().item()
    return Apart(
        loss=abs(found.loss - alone.loss) / alone.loss,
        gradient=distances[where],
        where=where,
        norm=max(abs(x - norm) / norm for x in found.norms),
    )


def _distance(found: torch.Tensor, expected: torch.Tensor, name: str) -> float:
    rows = VOCAB if name in PADDED else len(expected)
    assert found[:rows].shape == expected[:rows].shape, name
    largest = expected[:rows].abs().max()
    assert largest > 0, f"{name}: found no gradient, expected one"
    return float((found[:rows] - expected[:rows]).abs().max() / largest)
