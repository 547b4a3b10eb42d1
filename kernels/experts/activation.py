"""SwiGLU of the experts with the routing probability in it.

With a row's probability p, gate g, up u and ``a = SiLU(g) ⊙ u``, an expert's weighted output is
``y = p · W_d a = W_d (p a)``. Scaling before the down projection makes every gradient local:

    h  = p · SiLU(g) ⊙ u                      dh = W_dᵀ dy
    du = p · dh ⊙ SiLU(g)                     dp = ⟨dh, a⟩
    dg = p · dh ⊙ u ⊙ (σ(g) + SiLU(g) ⊙ (1 - σ(g)))

Scaled after it, ``dp = ⟨dy, W_d a⟩`` would need every expert's output kept, or computed again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.triton_support import cdiv

from .plain import plain_swiglu, plain_swiglu_backward
from .rows import readable, runs_fused
from .tiles import WARPS, row_grid, row_tile


def swiglu(gate_up: Tensor, scales: Tensor | None, offsets: Tensor) -> Tensor:
    """``scale · SiLU(gate) ⊙ up`` of every row, in float32, rounded once.

    Args:
        gate_up: ``[M, 2F]``, the gate in the first F columns (Hugging Face's fused layout).
        scales: ``[M]`` of any floating dtype, or None for ones.
        offsets: int32 ``[E]``; rows from ``offsets[-1]`` on are not read.

    Returns:
        ``[M, F]`` in gate_up's dtype, zero from row ``offsets[-1]`` on.
    """
    hidden: Tensor = _swiglu(gate_up, scales, offsets)
    return hidden


@torch.library.custom_op("leyden::experts_swiglu", mutates_args=())
def _swiglu(gate_up: Tensor, scales: Tensor | None, offsets: Tensor) -> Tensor:
    if not runs_fused(gate_up):
        return plain_swiglu(gate_up, scales, offsets)
    from . import device

    gate_up, rows, width = readable(gate_up), gate_up.shape[0], gate_up.shape[1] // 2
    hidden = gate_up.new_empty((rows, width))
    tile = row_tile(width)
    if rows:
        device.swiglu_kernel[row_grid(rows, width)](
            gate_up,
            gate_up if scales is None else scales.contiguous(),
            offsets,
            hidden,
            rows,
            width,
            gate_up.stride(0),
            offsets.shape[0],
            ROWS=tile.rows,
            BLOCK=tile.columns,
            SCALES=scales is not None,
            num_warps=WARPS,
        )
    return hidden


@_swiglu.register_fake
def _(gate_up: Tensor, _scales: Tensor | None, _offsets: Tensor) -> Tensor:
    return gate_up.new_empty((gate_up.shape[0], gate_up.shape[1] // 2))


@torch.library.custom_op("leyden::experts_swiglu_backward", mutates_args=())
def _swiglu_backward(
    gate_up: Tensor, scales: Tensor | None, offsets: Tensor, d_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    if not runs_fused(gate_up):
        return plain_swiglu_backward(gate_up, scales, offsets, d_hidden)
    from . import device

    gate_up, d_hidden = readable(gate_up), readable(d_hidden)
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    d_gate_up = gate_up.new_empty((rows, 2 * width))
    d_scales = gate_up.new_empty(0) if scales is None else scales.new_empty(rows)
    tile = row_tile(width)
    if rows:
        device.swiglu_backward_kernel[(cdiv(rows, tile.rows),)](
            gate_up,
            gate_up if scales is None else scales.contiguous(),
            offsets,
            d_hidden,
            d_gate_up,
            d_scales,
            rows,
            width,
            gate_up.stride(0),
            d_hidden.stride(0),
            offsets.shape[0],
            ROWS=tile.rows,
            BLOCK=tile.columns,
            SCALES=scales is not None,
            num_warps=WARPS,
        )
    return d_gate_up, d_scales


@_swiglu_backward.register_fake
def _(
    gate_up: Tensor, scales: Tensor | None, _offsets: Tensor, _d_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    d_scales = gate_up.new_empty(0) if scales is None else scales.new_empty(gate_up.shape[0])
    return gate_up.new_empty(gate_up.shape), d_scales


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, d_hidden: Tensor) -> tuple[Tensor, Tensor | None, None]:
    gate_up, scales, offsets = ctx.saved_tensors
    d_gate_up, d_scales = _swiglu_backward(gate_up, scales, offsets, d_hidden)
    return d_gate_up, None if scales is None else d_scales, None


_swiglu.register_autograd(_backward, setup_context=_keep)
