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
        aux: fp32 scalar, the sum of the auxiliary losses of sequences, coefficient included.
        sequences: their number.
    """

    def __init__(self, num_experts: int) -> None:
        # Not buffers of a module: casting a model to 16 bits would round aux, and a checkpoint
        # does not hold them.
        self.slots = torch.zeros(num_experts, dtype=torch.int64, device="cpu")
        self.dropped = torch.zeros_like(self.slots)
        self.aux = torch.zeros((), dtype=torch.float32, device="cpu")
        self.sequences = 0

    @torch.no_grad()
    def add(self, experts: Tensor, dropped: Tensor, aux: Tensor) -> None:
        """Counts choices int64 ``[N, k]``, drops bool ``[N, k]`` and losses ``[sequences]``."""
        if self.slots.device != experts.device:
            self.slots, self.dropped, self.aux = (
                x.to(experts.device) for x in (self.slots, self.dropped, self.aux)
            )
        flat = experts.reshape(-1)
        self.slots.scatter_add_(0, flat, torch.ones_like(flat))
        self.dropped.scatter_add_(0, flat, dropped.reshape(-1).to(torch.int64))
        self.aux += aux.sum()
        self.sequences += aux.numel()

    def clear(self) -> None:
        """Starts again from zero."""
        for counts in (self.slots, self.dropped, self.aux):
            counts.zero_()
        self.sequences = 0


@dataclass(frozen=True)
class Loads:
    """The load of the layers that this rank holds, in their order; see :class:`Load`.

    Ranks of one tensor-parallel group route the same tokens and count the same; data-parallel
    ranks count their own.

    Attributes:
        layers: int64 ``[layers]``, from 0 over the whole model (on the CPU).
        slots, dropped: int64 ``[layers, E]``.
        aux: fp32 ``[layers]``, the mean over sequences.
        sequences: int64 ``[layers]``, how many were counted (on the CPU).
    """

    layers: Tensor
    slots: Tensor
    dropped: Tensor
    aux: Tensor
    sequences: Tensor


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
        aux=torch.stack([load.aux / max(load.sequences, 1) for load in loads]),
        sequences=torch.tensor([load.sequences for load in loads]),
    )
    for load in loads:
        load.clear()
    return found


def _load(module: nn.Module) -> object:
    return getattr(module, "load", None)
