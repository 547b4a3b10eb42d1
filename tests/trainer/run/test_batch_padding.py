"""Padding behind a sequence's documents: no expert takes it, whatever it holds, on any layout."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.trainer.models.small import LENGTH, VOCAB, tokens
from tests.trainer.ranks import run_ranks
from tests.trainer.run.test_batch import Step, same, step
from trainer.megatron.start import Layout

REAL = (32, 5, 32, 20)
"""Tokens of documents in each sequence; the second one's are fewer than an expert's capacity."""


@dataclass
class Padded:
    """Sequences by their numbers, each one document and then ``shift``ed padding."""

    numbers: tuple[int, ...]
    shift: int = 0
    told: bool = True

    @property
    def padding(self) -> Tensor | None:
        return self._filling if self.told else None

    @property
    def _filling(self) -> Tensor:
        return torch.cat([torch.arange(LENGTH) >= REAL[n] for n in self.numbers])

    @property
    def tokens(self) -> Tensor:
        whole = torch.cat([tokens(1, n) for n in self.numbers])
        return torch.where(self._filling, (whole + self.shift) % VOCAB, whole)

    @property
    def labels(self) -> Tensor:
        ends = torch.cat([torch.arange(LENGTH) >= REAL[n] - 1 for n in self.numbers])
        return self.tokens.roll(-1).masked_fill(ends, -100)

    @property
    def cu_seqlens(self) -> Tensor:
        ends = [
            place * LENGTH + end
            for place, n in enumerate(self.numbers)
            for end in sorted({REAL[n], LENGTH})
        ]
        return torch.tensor([0, *ends], dtype=torch.int32)

    max_seqlen = LENGTH
    images = None

    @property
    def first_sequence(self) -> int:
        return self.numbers[0]


@pytest.fixture(scope="module")
def alone() -> Step:
    found: Step
    [found] = run_ranks(step, 1, Layout(), False, [[Padded((0, 1)), Padded((2, 3))]])
    assert (found[0].routed.slots.sum(1) == 2 * sum(REAL)).all()
    assert found[0].routed.dropped.sum() > 0
    return found


def test_what_padding_holds_moves_nothing(alone: Step) -> None:
    other = [[Padded((0, 1), shift=7), Padded((2, 3), shift=8)]]
    [found] = run_ranks(step, 1, Layout(), False, other)
    same(found, alone)


def test_padding_that_is_not_told_would_be_seen(alone: Step) -> None:
    untold = [[Padded((0, 1), told=False), Padded((2, 3), told=False)]]
    [(result, norms)] = run_ranks(step, 1, Layout(), False, untold)
    assert (result.routed.slots.sum(1) == 2 * 4 * LENGTH).all()
    assert not torch.equal(result.routed.dropped, alone[0].routed.dropped)
    name = "decoder.layers.0.mlp.router.weight"
    assert norms[name] != pytest.approx(alone[1][name], rel=1e-2)


@pytest.mark.parametrize(
    ("layout", "recompute", "batches"),
    [
        (Layout(tp=2), False, [[Padded((0, 1)), Padded((2, 3))]]),
        (Layout(pp=2), True, [[Padded((n,)) for n in range(4)]]),
        # The second rank's first micro-batch leaves most experts without a token.
        (Layout(ep=2), False, [[Padded((0,)), Padded((2,))], [Padded((1,)), Padded((3,))]]),
        pytest.param(
            Layout(tp=2, ep=2), False, [[Padded((0, 1)), Padded((2, 3))]], marks=pytest.mark.long
        ),
    ],
    ids=["tp2", "pp2 recomputed", "ep2", "tp2 ep2"],
)
def test_layouts_agree(
    alone: Step, layout: Layout, recompute: bool, batches: list[list[Padded]]
) -> None:
    world = layout.tp * layout.pp * len(batches)
    for found in run_ranks(step, world, layout, recompute, batches):
        same(found, alone)
