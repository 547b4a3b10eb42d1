"""The loss of pairs of answers, from the log-probabilities of a model and of its reference."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trainer.preference.recipe import Dpo


class Judged(NamedTuple):
    """Of each pair, floats ``[pairs]``.

    Attributes:
        losses: what is minimised.
        chosen, rejected: implicit rewards, β (log π - log π_ref).
        nll: mean loss of the chosen answer's tokens, in nats.
    """

    losses: Tensor
    chosen: Tensor
    rejected: Tensor
    nll: Tensor

    @property
    def margins(self) -> Tensor:
        """By how much the chosen answer's reward is above the rejected one's."""
        return self.chosen - self.rejected

    @property
    def right(self) -> Tensor:
        """1 where the chosen answer's reward is above the other's, else 0."""
        return (self.margins > 0).to(self.losses.dtype)


def judge(policy: Tensor, reference: Tensor, tokens: Tensor, settings: Dpo) -> Judged:
    """The losses of pairs: ``-log σ(β ((log π - log π_ref)(chosen) - (…)(rejected)))``.

    Args:
        policy, reference: log-probabilities of answers, summed over their tokens, ``[pairs, 2]``:
            chosen, rejected.
        tokens: of the answers, ``[pairs, 2]``, at least 1.
        settings: of the objective.
    """
    nll = -policy[:, 0] / tokens[:, 0]
    if settings.normalise:
        policy, reference = policy / tokens, reference / tokens
    rewards = settings.beta * (policy - reference)
    losses = -logsigmoid(rewards[:, 0] - rewards[:, 1])
    if settings.nll:
        losses = losses + settings.nll * nll
    return Judged(losses, rewards[:, 0].detach(), rewards[:, 1].detach(), nll.detach())


def answer_sums(values: Tensor, halves: Tensor) -> Tensor:
    """Sums of what stands in each half of each pair, fp64 ``[pairs, 2]``.

    Args:
        values: of a micro-batch's tokens, ``[T]``.
        halves: int64 ``[pairs, 2, 2]`` on the CPU: first token and end of chosen and rejected half.
    """
    # One sum a half: no atomics, so a GPU adds in the same order in every run.
    sums = [
        values[first:end].sum(dtype=torch.float64) for first, end in halves.view(-1, 2).tolist()
    ]
    if not sums:
        return values.new_zeros((0, 2), dtype=torch.float64)
    return torch.stack(sums).view(-1, 2)
