"""What one sweep reads and writes."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Operands(NamedTuple):
    """What one sweep reads and writes.

    ``a [B, T, Ha, K]``, ``b [B, T, Hb, K]`` and ``c [B, T, Hc, V]`` of one dtype; ``out`` is
    ``[B, T, H, V]``, of any floating dtype, every element of which is written. Last dimensions
    contiguous. Ha, Hb and Hc divide H; head h reads head ``h // (H/Ha)``.

    ``activated``: SiLU is applied to a, b, c as they are read, in float32, and rounded to their
    dtype. ``preactivation [B, T, Hp, V]``, of their dtype, last dimension contiguous: ``out`` is
    multiplied by SiLU' of it before it is rounded; head h reads head ``h // (H/Hp)``.
    """

    a: torch.Tensor
    b: torch.Tensor
    c: torch.Tensor
    out: torch.Tensor
    activated: tuple[bool, bool, bool] = (False, False, False)
    preactivation: torch.Tensor | None = None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that a kernel addresses: a, b, c, out, and the preactivation if there is one."""
        found = (self.a, self.b, self.c, self.out)
        return found if self.preactivation is None else (*found, self.preactivation)
