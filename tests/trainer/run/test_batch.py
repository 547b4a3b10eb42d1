"""A global batch through the model; sequences that were skipped leave no trace in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.trainer.models.small import LENGTH, build, recipe, tokens
from tests.trainer.ranks import run_ranks
from trainer.megatron.optimizer import OptimizerSettings, build_optimizer, gradient_norms, wrap
from trainer.megatron.start import Layout, start
from trainer.run.batch import BatchResult, MicroBatch, run_batch

LAYERS = 4
Step = tuple[BatchResult, dict[str, float]]
"""A result, and the gradient norm of each parameter over all ranks."""


@dataclass
class Batch:
    """Sequences of a plan: by their numbers, which also say what is in them.

    Those of ``filling`` are not there; ``told``: the batch says so.
    """

    numbers: tuple[int, ...]
    filling: tuple[int, ...] = ()
    told: bool = True

    @property
    def skipped(self) -> tuple[int, ...]:
        return self.filling if self.told else ()

    @property
    def padding(self) -> Tensor | None:
        if not self.skipped:
            return None
        return torch.tensor([n in self.skipped for n in self.numbers]).repeat_interleave(LENGTH)

    @property
    def tokens(self) -> Tensor:
        rows = [
            tokens(1, n) if n not in self.filling else torch.zeros(LENGTH) for n in self.numbers
        ]
        return torch.cat(rows).long()

    @property
    def labels(self) -> Tensor:
        labels = self.tokens.roll(-1)
        labels[LENGTH - 1 :: LENGTH] = -100
        for place, number in enumerate(self.numbers):
            if number in self.filling:
                labels[place * LENGTH : (place + 1) * LENGTH] = -100
        return labels

    @property
    def cu_seqlens(self) -> Tensor:
        return torch.arange(0, len(self.numbers) * LENGTH + 1, LENGTH, dtype=torch.int32)

    max_seqlen = LENGTH
    images = None

    @property
    def first_sequence(self) -> int:
        return self.numbers[0]

    @property
    def sequences(self) -> int:
        return len(self.numbers)


def step(layout: Layout, recompute: bool, batches: Sequence[Sequence[MicroBatch]]) -> Step:
    """What comes of ``batches``, by data-parallel rank."""
    ranks = start(layout, 7)
    model = build(
        recipe(experts={"aux_loss": {"coefficient": 1.0}}),
        layout,
        recompute=recompute,
        pre_process=ranks.is_first_stage,
        post_process=ranks.is_last_stage,
    )
    chunks = wrap([model], model.config)
    mine = batches[ranks.dp_rank]
    result = run_batch(chunks, mine, ranks=ranks, layers=LAYERS, train=True)
    optimizer = build_optimizer(chunks, OptimizerSettings(precision="fp32"))
    return result, gradient_norms(optimizer, chunks, by=str)


def same(found: Step, wanted: Step) -> None:
    one, other = found[0], wanted[0]
    assert one.labels == other.labels
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    assert torch.equal(one.routed.slots, other.routed.slots)
    assert torch.equal(one.routed.dropped, other.routed.dropped)
    torch.testing.assert_close(one.routed.aux, other.routed.aux, rtol=1e-6, atol=0)
    assert found[1] == pytest.approx(wanted[1], rel=1e-5)


@pytest.fixture(scope="module")
def whole() -> Step:
    """Three sequences, and none that was skipped."""
    found: Step
    [found] = run_ranks(step, 1, Layout(), False, [[Batch((1,)), Batch((3,)), Batch((4,))]])
    assert found[0].routed.dropped.sum() > 0
    return found


@pytest.mark.parametrize(
    ("layout", "recompute", "batches"),
    [
        (Layout(), False, [[Batch((1, 2), (2,)), Batch((3, 4))]]),
        (Layout(pp=2), True, [[Batch((1,)), Batch((2,), (2,)), Batch((3,)), Batch((4,))]]),
        (Layout(tp=2), False, [[Batch((1, 2), (2,)), Batch((3, 4))]]),
        (Layout(), True, [[Batch((1, 2), (2,))], [Batch((3, 4))]]),
        # Of the first rank's second micro-batch no token goes to any expert.
        (Layout(ep=2), False, [[Batch((1,)), Batch((2,), (2,))], [Batch((3,)), Batch((4,))]]),
    ],
    ids=["alone", "pp2 recomputed", "tp2", "dp2 recomputed", "ep2"],
)
def test_a_skipped_sequence_adds_neither_loss_nor_load(
    whole: Step, layout: Layout, recompute: bool, batches: list[list[Batch]]
) -> None:
    world = layout.tp * layout.pp * len(batches)
    for found in run_ranks(step, world, layout, recompute, batches):
        same(found, whole)


def test_one_that_is_not_told_to_be_skipped_would_be_seen(whole: Step) -> None:
    batches = [[Batch((1, 2), (2,), told=False), Batch((3, 4))]]
    [(result, norms)] = run_ranks(step, 1, Layout(), False, batches)
    assert result.loss == pytest.approx(whole[0].loss, rel=1e-6)
    assert not torch.equal(result.routed.slots, whole[0].routed.slots)
    name = "decoder.layers.0.mlp.router.weight"
    assert norms[name] != pytest.approx(whole[1][name], rel=1e-2)


def test_a_batch_without_labels_has_no_loss() -> None:
    [(result, norms)] = run_ranks(step, 1, Layout(), False, [[Batch((1, 2), (1, 2))]])
    assert result.labels == 0
    assert result.loss != result.loss
    assert not result.routed.slots.any()
    assert not result.routed.aux.any()
    assert not any(norms.values())
