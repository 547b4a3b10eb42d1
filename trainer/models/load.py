"""What routers did since somebody last asked: load, drops, auxiliary loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Load:
    """Counts of one router, kept on its device: adding to them waits for nothing.

    Attributes:
        slots: int64 ``[E]``, slots that chose each expert, before any was dropped.
        dropped: int64 ``[E]``, those of them beyond its capacity.
        aux: fp32 scalar, the sum of the auxiliary losses of sequences, coefficient included, each
            as often as it has tokens.
        tokens: int64 scalar, those that were routed.
    """

    def __init__(self, num_experts: int) -> None:
        # Not buffers of a module: casting a model to 16 bits would round aux, and a checkpoint
        # does not hold them.
        self.slots = torch.zeros(num_experts, dtype=torch.int64, device="cpu")
        self.dropped = torch.zeros_like(self.slots)
        self.aux = torch.zeros((), dtype=torch.float32, device="cpu")
        self.tokens = torch.zeros((), dtype=torch.int64, device="cpu")

    @torch.no_grad()
    def add(
        self,
        experts: Tensor,
        dropped: Tensor,
        aux: Tensor,
        tokens: Tensor,
        padding: Tensor | None = None,
    ) -> None:
        """Counts choices int64 ``[N, k]`` and drops bool ``[N, k]``, but for ``padding``, bool
        ``[N]``; and losses ``[sequences]`` of so many ``tokens`` each."""
        if self.slots.device != experts.device:
            self.slots, self.dropped, self.aux, self.tokens = (
                x.to(experts.device) for x in (self.slots, self.dropped, self.aux, self.tokens)
            )
        flat, one = experts.reshape(-1), torch.ones_like(experts)
        if padding is not None:
            one = one.masked_fill(padding[:, None], 0)
        self.slots.scatter_add_(0, flat, one.reshape(-1))
        self.dropped.scatter_add_(0, flat, dropped.reshape(-1).to(torch.int64))
        self.aux += (aux * tokens).sum()
        self.tokens += tokens.sum()

    def clear(self) -> None:
        """Starts again from zero."""
        for counts in (self.slots, self.dropped, self.aux, self.tokens):
            counts.zero_()


@dataclass(frozen=True)
class Loads:
    """The load of the layers that this rank holds, in their order; see :class:`Load`.

    Ranks of one tensor-parallel group route the same tokens and count the same; data-parallel
    ranks count their own.

    Attributes:
        layers: int64 ``[layers]``, from 0 over the whole model (on the CPU).
        slots, dropped: int64 ``[layers, E]``.
        aux: fp32 ``[layers]``, the mean over tokens of their sequences' losses.
        tokens: int64 ``[layers]``, how many were counted.
    """

    layers: Tensor
    slots: Tensor
    dropped: Tensor
    aux: Tensor
    tokens: Tensor


def take_loads(chunks: Iterable[nn.Module]) -> Loads:
    """What the routers of a model's pipeline chunks counted since the last call, and start anew.

    Nothing waits for the device: to read the tensors does, so do that once a step.

    Raises:
        ValueError: where no module has a router.
    """
    routers: list[Any] = [
        module for chunk in chunks for module in chunk.modules() if isinstance(_load(module), Load)
    ]
    if not routers:
        raise ValueError("found no router in the model, expected one in each layer")
    loads = [router.load for router in routers]
    found = Loads(
        layers=torch.tensor([router.layer_number - 1 for router in routers]),
        slots=torch.stack([load.slots for load in loads]),
        dropped=torch.stack([load.dropped for load in loads]),
        aux=torch.stack([load.aux / load.tokens.clamp_min(1) for load in loads]),
        tokens=torch.stack([load.tokens.clone() for load in loads]),
    )
    for load in loads:
        load.clear()
    return found


def _load(module: nn.Module) -> object:
    return getattr(module, "load", None)
