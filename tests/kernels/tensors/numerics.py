"""How far a tensor is from a reference."""

from __future__ import annotations

import torch

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-3, torch.float16: 5e-3}
"""Largest relative RMS error against float64, by the dtype of the inputs."""


def rel_rms(found: torch.Tensor, expected: torch.Tensor) -> float:
    """RMS of the difference over RMS of ``expected``; NaN when either holds one."""
    found, expected = found.double().cpu(), expected.double().cpu()
    scale = expected.square().mean().sqrt()
    return float((found - expected).square().mean().sqrt() / scale.clamp_min(1e-30))
