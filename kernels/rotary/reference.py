"""Rotary position embedding as its equation, in float64: the oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def angles(positions: Tensor, rotary_dim: int, base: float) -> Tensor:
    """float64 ``[..., rotary_dim / 2]``: ``positions * base^(-2 j / rotary_dim)``, in radians."""
    j = torch.arange(rotary_dim // 2, dtype=torch.float64, device=positions.device)
    frequency: Tensor = base ** (-2.0 * j / rotary_dim)
    return positions[..., None].double() * frequency


def rotary(x: Tensor, positions: Tensor, rotary_dim: int, base: float) -> Tensor:
    """Rotate the first ``rotary_dim`` of x ``[B, T, H, D]`` at positions ``[B, T]``; float64."""
    angle = angles(positions, rotary_dim, base)[:, :, None]
    half = rotary_dim // 2
    first, second = x[..., :half].double(), x[..., half:rotary_dim].double()
    turned = [
        first * angle.cos() - second * angle.sin(),
        second * angle.cos() + first * angle.sin(),
    ]
    return torch.cat([*turned, x[..., rotary_dim:].double()], -1)
