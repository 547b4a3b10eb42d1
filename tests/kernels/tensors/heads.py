"""Small heads to take the cross-entropy of, and how results are compared."""

from __future__ import annotations

import math
from typing import Any

import torch

from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

EVERYTHING: dict[str, Any] = {
    "label_smoothing": 0.1,
    "z_loss": 1e-2,
    "logit_scale": 0.7,
    "softcap": 3.0,
}
SMALL = 3 * 4 * 150 * 3
"""A workspace of tiles of 3 tokens at V = 150, and chunks of 6 in fp32, 12 in 16 bits."""


def problem(
    n: int, h: int, v: int, dtype: torch.dtype, device: torch.device, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, h, generator=g).to(device, dtype).requires_grad_()
    weight = (2 * torch.randn(v, h, generator=g) / math.sqrt(h)).to(device, dtype).requires_grad_()
    targets = torch.randint(0, v, (n,), generator=g)
    targets[n // 3 :: 7] = -100
    return hidden, weight, targets.to(device)


def gradients(loss: torch.Tensor, *of: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, of)


def doubled(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """float64 copies, so that a reference's gradients are not rounded to the inputs' dtype."""
    return tuple(t.detach().double().requires_grad_() for t in tensors)


def close(found: Any, expected: Any, dtype: torch.dtype) -> None:
    """Every tensor within the tolerance of its dtype."""
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        error = rel_rms(f.detach(), e.detach())
        assert error <= TOLERANCE[dtype], error
