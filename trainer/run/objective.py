"""What a stage minimises: the next token's loss, or another objective of the same form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from trainer.run.batch import MicroBatch


class Lost(NamedTuple):
    """What came of a micro-batch.

    Attributes:
        total: the sum of losses, of which gradients are taken; fp32 scalar.
        divisor: what they are divided by once the whole batch is summed; int scalar. Auxiliary
            losses of routers are weighed for the number of tokens with a label.
        logged: fp64 ``[3 + further]``, without gradients: the sum of the losses, how many there
            are, how many labels, and the sums that the objective's ``further`` names.
    """

    total: Tensor
    divisor: Tensor
    logged: Tensor


class Objective(Protocol):
    """The loss of micro-batches, on the last pipeline stage."""

    @property
    def reduction(self) -> Literal["none", "sum"]:
        """Of the tokens' losses that `loss` takes."""
        ...

    @property
    def further(self) -> tuple[str, ...]:
        """What else is summed up, to be told as a mean over what the loss is a mean of."""
        ...

    def loss(self, batch: MicroBatch, labels: Tensor, found: Tensor) -> Lost:
        """Of the labels ``[T]`` and the losses that the model found, both on its device."""
        ...


class NextToken:
    """The mean loss of the labels."""

    reduction: Literal["none", "sum"] = "sum"
    further: tuple[str, ...] = ()

    def loss(self, batch: MicroBatch, labels: Tensor, found: Tensor) -> Lost:  # noqa: ARG002
        """The losses of a micro-batch, summed by the model."""
        count = (labels != -100).sum()
        logged = torch.stack([found.detach().double(), count.double(), count.double()])
        return Lost(found, count.to(torch.int), logged)


NEXT_TOKEN = NextToken()
