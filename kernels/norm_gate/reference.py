"""The gated norm as its equation, in the dtype of its inputs: give float64 for an oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def norm_gate(o: Tensor, gate: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """``o / sqrt(mean(o^2) + eps) * weight * sigmoid(gate)``, the mean over all heads."""
    flat = o.reshape(gate.shape)
    normed = flat / torch.sqrt(flat.square().mean(-1, keepdim=True) + eps)
    return normed * weight * torch.sigmoid(gate)
