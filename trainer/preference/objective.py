"""What micro-batches of pairs give: their loss, or the log-probabilities of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from trainer.megatron.start import Ranks
from trainer.preference.loss import Judged, answer_sums, judge
from trainer.preference.pairs import PairBatch
from trainer.preference.recipe import Dpo
from trainer.preference.reference import Reference
from trainer.run.batch import MicroBatch, through
from trainer.run.objective import Lost

FURTHER = ("chosen", "rejected", "margin", "accuracy", "nll")
"""Means over pairs: both implicit rewards, the gap between them, the share of pairs in which the
chosen answer's is larger, and the loss of its tokens in nats."""


class DpoObjective:
    """The mean loss of pairs; those of which the reference says nothing are left out.

    Gradients are divided by the tokens of the answers, as in other stages, so that the auxiliary
    losses of routers weigh as much; the losses of pairs are multiplied by tokens a pair before.
    """

    reduction: Literal["none", "sum"] = "none"
    further: tuple[str, ...] = FURTHER

    def __init__(self, settings: Dpo, reference: Reference, device: torch.device) -> None:
        self._settings, self._reference, self._device = settings, reference, device
        self._tokens_a_pair = 1.0

    def prepare(self, batches: Sequence[PairBatch]) -> None:
        """Count the pairs of a step, and the tokens of their answers; all ranks call it."""
        sums = np.zeros(2)
        for batch in batches:
            known = self._known(batch)
            sums += (int(batch.counts[known].sum()), int(known.sum()))
        # The ranks that share a sequence count it alike: their number falls out.
        found = torch.tensor(sums, dtype=torch.float64, device=self._device)
        dist.all_reduce(found)
        tokens, pairs = found.tolist()
        self._tokens_a_pair = tokens / pairs if pairs else 1.0

    def loss(self, batch: MicroBatch, labels: Tensor, found: Tensor) -> Lost:  # noqa: ARG002
        """The losses of a micro-batch's pairs."""
        assert isinstance(batch, PairBatch)
        known = self._known(batch)
        judged = judge(
            -answer_sums(found, batch.halves[known]),
            self._reference.of(batch.rows[known]).to(found.device),
            batch.counts[known].to(found.device),
            self._settings,
        )
        total = judged.losses.sum() * self._tokens_a_pair
        count = batch.counts[known].sum().to(found.device)
        if not known.any():  # a gradient of zero: every rank stays in the collectives
            total = found.double().sum() * 0
        logged = [judged.losses.detach().sum(), known.sum().to(found.device), count]
        logged += list(further_sums(judged))
        return Lost(total.float(), count.to(torch.int), torch.stack([x.double() for x in logged]))

    def _known(self, batch: PairBatch) -> Tensor:
        """Which pairs the reference has both log-probabilities of, bool ``[pairs]``."""
        return self._reference.of(batch.rows).isfinite().all(1)


def further_sums(judged: Judged) -> tuple[Tensor, ...]:
    """The sums over pairs that `FURTHER` names."""
    values = (judged.chosen, judged.rejected, judged.margins, judged.right, judged.nll)
    return tuple(value.sum() for value in values)


class _LogProbabilities:
    """Of answers, in the place of what is logged: fp64 ``[2 · pairs]``."""

    reduction: Literal["none", "sum"] = "none"
    further: tuple[str, ...] = ()

    def loss(self, batch: MicroBatch, labels: Tensor, found: Tensor) -> Lost:  # noqa: ARG002
        assert isinstance(batch, PairBatch)
        count = torch.ones((), dtype=torch.int, device=found.device)
        return Lost(found.sum(), count, -answer_sums(found, batch.halves).flatten())


class Scored:
    """Log-probabilities of pairs: ``rows`` int64 [pairs], ascending, ``values`` fp64 [pairs, 2] of
    the chosen and the rejected answer, and ``counts`` int64 [pairs, 2], their tokens."""

    def __init__(
        self,
        rows: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        counts: npt.NDArray[np.int64],
    ) -> None:
        self.rows, self.values, self.counts = rows, values, counts


def score(chunks: Sequence[Any], batches: Sequence[PairBatch], ranks: Ranks) -> Scored:
    """The log-probabilities of all ranks' pairs, on every rank; all call it."""
    found = through(
        chunks, batches, train=False, device=ranks.device, objective=_LogProbabilities()
    )
    own = None
    if ranks.is_last_stage and ranks.tp_rank == 0:
        own = (
            torch.cat([batch.rows for batch in batches]).numpy(),
            torch.cat([one["loss"] for one in found]).view(-1, 2).cpu().numpy(),
            torch.cat([batch.counts for batch in batches]).numpy(),
        )
    told: list[Any] = [own]
    if ranks.world > 1:
        told = [None] * ranks.world
        dist.all_gather_object(told, own)
    parts = [part for part in told if part is not None]
    rows, values, counts = (np.concatenate([part[i] for part in parts]) for i in range(3))
    order = np.argsort(rows)
    return Scored(rows[order], values[order], counts[order])
