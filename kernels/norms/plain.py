"""The passes of the norms in plain torch, over rows ``[rows, width]``: what runs without a GPU.

The same functions as in ``kernels.norms.launch``, and the same arithmetic in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sum_of_squares(x: Tensor) -> Tensor:
    """fp32 ``[rows]``: the sum of x^2 of each row."""
    return x.float().square().sum(1)


def _rstd(squares: Tensor, full_width: int, eps: float) -> Tensor:
    return torch.rsqrt(squares / full_width + eps)[:, None]


def _before_norm(dy: Tensor, gain: Tensor | None, gate: Tensor | None) -> Tensor:
    """The gradient with respect to ``x * rstd``."""
    g = dy.float()
    if gate is not None:
        g = g * torch.sigmoid(gate.float())
    return g if gain is None else g * gain.float()


def moments(dy: Tensor, x: Tensor, gain: Tensor | None, gate: Tensor | None) -> Tensor:
    """fp32 ``[rows]``: the sum of ``dy * gain * sigmoid(gate) * x`` of each row."""
    return (_before_norm(dy, gain, gate) * x.float()).sum(1)


def forward(
    x: Tensor,
    gain: Tensor | None,
    gate: Tensor | None,
    residual: Tensor | None,
    squares: Tensor | None,
    *,
    full_width: int,
    alpha: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``(y, squares, total)``; ``total`` only with a residual, which excludes given ``squares``."""
    total = None
    if residual is not None:
        total = (alpha * residual.float() + x.float()).to(x.dtype).contiguous()
        x = total
    sums = sum_of_squares(x) if squares is None else squares
    y = x.float() * _rstd(sums, full_width, eps)
    if gain is not None:
        y = y * gain.float()
    if gate is not None:
        y = y * torch.sigmoid(gate.float())
    return y.to(x.dtype).contiguous(), sums, total


def backward(
    dy: Tensor,
    x: Tensor,
    gain: Tensor | None,
    gate: Tensor | None,
    squares: Tensor,
    moment: Tensor | None,
    dtotal: Tensor | None,
    *,
    full_width: int,
    alpha: float,
    eps: float,
    wants_gain: bool,
    wants_residual: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """``(dx, dresidual, dgate, dgain)``, None where not wanted."""
    rstd = _rstd(squares, full_width, eps)
    normed = x.float() * rstd
    g = _before_norm(dy, gain, gate)
    if moment is None:
        moment = (g * x.float()).sum(1)
    dx = rstd * (g - normed * (rstd * (moment / full_width)[:, None]))
    if dtotal is not None:
        dx = dx + dtotal.float()
    dresidual = (alpha * dx).to(x.dtype).contiguous() if wants_residual else None
    dgate = dgain = None
    if gate is not None:
        # dy * gain * s * normed * (1 - s), and g holds the first three
        dgate = (g * normed * (1.0 - torch.sigmoid(gate.float()))).to(gate.dtype).contiguous()
    if gain is not None and wants_gain:
        opened = dy.float() if gate is None else dy.float() * torch.sigmoid(gate.float())
        dgain = (opened * normed).sum(0).to(gain.dtype)
    return dx.to(x.dtype).contiguous(), dresidual, dgate, dgain
