"""The norms as their equations, in the dtype of their inputs: give float64 for an oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * gain`` over the last dimension."""
    normed = x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps)
    return normed if gain is None else normed * gain


def add_rms_norm(
    residual: Tensor,
    x: Tensor,
    gain: Tensor | None = None,
    *,
    alpha: float = 1.0,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """``total = alpha * residual + x`` and the norm of it: ``(total, rms_norm(total))``."""
    total = alpha * residual + x
    return total, rms_norm(total, gain, eps)
