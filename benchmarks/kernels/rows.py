"""Norms, the gated norm and rotary: bound by memory; beside PyTorch's own operators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import rms_norm as torch_rms_norm

from benchmarks.kernels.clock import Clock, Timing
from benchmarks.kernels.shapes import Sizes
from benchmarks.kernels.table import Table
from kernels.norm_gate import norm_gate
from kernels.norms import add_rms_norm, rms_norm
from kernels.rotary import rotary

TORCH = "torch operators"
ALPHA = 3.5565588200778455
"""(2 · 80)^(1/4): DeepNorm's factor with MiniMax-01's 80 layers."""


def norms(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """RMSNorm, and the norm of a scaled residual sum."""
    x, residual = (_normal(device, sizes.tokens, sizes.width) for _ in range(2))
    gain = _normal(device, sizes.width)
    shape = f"{sizes.tokens} × {sizes.width}"

    def plain_sum(residual: Tensor, x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        total = ALPHA * residual + x
        return total, torch_rms_norm(total, gain.shape, gain, 1e-5)

    _both_ways(
        table,
        clock,
        f"RMSNorm, {shape}",
        (x, gain),
        lambda x, gain: rms_norm(x, gain, 1e-5),
        lambda x, gain: torch_rms_norm(x, gain.shape, gain, 1e-5),
        moved=(2 * x.nbytes, 3 * x.nbytes),
    )
    _both_ways(
        table,
        clock,
        f"RMSNorm of a residual sum, {shape}",
        (residual, x, gain),
        lambda residual, x, gain: add_rms_norm(residual, x, gain, alpha=ALPHA, eps=1e-5),
        plain_sum,
        # Backward reads the total and both cotangents, and writes two gradients.
        moved=(4 * x.nbytes, 5 * x.nbytes),
    )


def gated(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """RMSNorm over all heads times the sigmoid of a gate."""
    width = 64 * sizes.head
    o, gate = (_normal(device, sizes.tokens, width) for _ in range(2))
    weight = _normal(device, width)
    _both_ways(
        table,
        clock,
        f"norm and gate, {sizes.tokens} × {width}",
        (o, gate, weight),
        lambda o, gate, weight: norm_gate(o, gate, weight, 1e-6),
        lambda o, gate, w: torch_rms_norm(o, w.shape, w, 1e-6) * torch.sigmoid(gate),
        moved=(3 * o.nbytes, 5 * o.nbytes),
    )


def rotations(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """Half of each head of 64 query and 8 key heads."""
    half = sizes.head // 2
    q, k = (_normal(device, 8, sizes.tokens // 8, heads, sizes.head) for heads in (64, 8))
    angles = torch.arange(sizes.tokens // 8, device=device)[:, None] * torch.pow(
        10_000.0, -torch.arange(0, half, 2, device=device) / half
    )
    cos, sin = (f(angles)[:, None].to(q.dtype) for f in (torch.cos, torch.sin))

    def plain(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        def turned(x: Tensor) -> Tensor:
            first, second, rest = torch.split(x, [half // 2, half // 2, sizes.head - half], dim=-1)
            return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)

        return turned(q), turned(k)

    _both_ways(
        table,
        clock,
        f"rotary, {sizes.tokens} tokens, 64 and 8 heads, {half} of {sizes.head}",
        (q, k),
        lambda q, k: rotary(q, k, rotary_dim=half),
        plain,
        moved=(2 * (q.nbytes + k.nbytes),) * 2,
    )


def _normal(device: torch.device, *shape: int) -> Tensor:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.randn(shape, device=device, dtype=dtype)


def _both_ways(
    table: Table,
    clock: Clock,
    case: str,
    inputs: tuple[Tensor, ...],
    ours: Callable[..., Tensor | tuple[Tensor, ...]],
    plain: Callable[..., Tensor | tuple[Tensor, ...]],
    moved: tuple[int, int],
) -> None:
    """Forward and backward of both forms; the floor is copying ``moved`` bytes of each."""
    source = max(inputs, key=lambda x: x.nbytes).detach()
    target = torch.empty_like(source)
    copy = clock.time(lambda: target.copy_(source))
    leaves = [x.detach().requires_grad_() for x in inputs]
    times = [_times(clock, leaves, form) for form in (ours, plain)]
    for way, name in enumerate(("forward", "backward")):
        share = moved[way] / (2 * source.nbytes)
        table.rows(
            f"{case}, {name}",
            times[0][way],
            floor=Timing(copy.alone * share, copy.sustained * share),
            peers={TORCH: times[1][way]},
            moved=moved[way],
        )


def _times(
    clock: Clock, leaves: list[Tensor], form: Callable[..., Tensor | tuple[Tensor, ...]]
) -> tuple[Timing, Timing]:
    def forward() -> object:
        with torch.no_grad():
            return form(*leaves)

    out = form(*leaves)
    outs = [out] if isinstance(out, Tensor) else list(out)
    cotangents = [torch.randn_like(x) for x in outs]
    return clock.time(forward), clock.time(
        lambda: torch.autograd.grad(outs, leaves, cotangents, retain_graph=True)
    )
