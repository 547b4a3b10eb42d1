"""What a module says of how its weights are drawn."""

from __future__ import annotations

import math
from typing import TypeAlias

from torch import Tensor

Deviations: TypeAlias = dict[str, float | Tensor | None]
"""Standard deviation of each parameter of a module, by its name in there: one for all of it, an
fp32 tensor with one for each row over all ranks, or None for a gain, which starts at one."""


def xavier(fan_in: int, fan_out: int) -> float:
    """The standard deviation ``√(2 / (fan_in + fan_out))`` (Glorot and Bengio 2010, eq. 12)."""
    return math.sqrt(2 / (fan_in + fan_out))
