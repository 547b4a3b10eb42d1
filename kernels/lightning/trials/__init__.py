"""What the kernel sentinel tries of lightning attention, and the formulas it judges by.

Each ``*_candidate`` names the configuration of one launch by its arguments; the sentinel then knows
how to try it (:mod:`kernels.sentinel`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from kernels.lightning.trials import carry, decode, sweeps
from kernels.lightning.trials.carry import carry_candidate
from kernels.lightning.trials.decode import decode_candidate
from kernels.lightning.trials.reference import sweep_reference
from kernels.lightning.trials.sweeps import (
    gradients_candidate,
    hopper_candidate,
    portable_candidate,
)
from kernels.sentinel import Candidate


def candidates(device: torch.device) -> Iterator[Candidate]:
    """The configurations that common shapes of ``lightning_attention`` and decoding launch."""
    yield from sweeps.candidates(device)
    yield from carry.candidates()
    yield from decode.candidates()


__all__ = [
    "candidates",
    "carry_candidate",
    "decode_candidate",
    "gradients_candidate",
    "hopper_candidate",
    "portable_candidate",
    "sweep_reference",
]
