"""Leaves that want gradients, and how lists of results are compared."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def leaf(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normal numbers that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, dtype).requires_grad_()


def doubled(tensor: Tensor) -> Tensor:
    """The same numbers as a float64 leaf."""
    return tensor.detach().double().requires_grad_()


def assert_near(
    found: list[Tensor], expected: list[Tensor], tolerance: float | None = None
) -> None:
    """Each tensor to the tolerance of its own dtype, unless one is given."""
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours.shape == theirs.shape
        error = rel_rms(ours.detach(), theirs.detach())
        assert error <= (tolerance or TOLERANCE[ours.dtype]), f"tensor {i}"
