"""Tokens to rows and rows to tokens: each is the other's backward.

*Spread* copies token ``t`` to the rows of its k slots; *collect* adds the rows of a token's slots
up, first choice first. With the 0/1 matrix P (rows × tokens) they are ``P x`` and ``Pᵀ y``. Both
visit tokens, not rows: spread reads a token once and writes it k times (1 + k transfers a token,
where an index per row makes 2k), and collect needs no atomics, as each token has one writer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.triton_support import cdiv, runs_triton

from .plain import plain_collect, plain_spread, plain_weighted_backward
from .tiles import WARPS, row_grid, row_tile


def runs_fused(tensor: Tensor) -> bool:
    """Whether the Triton form runs; float64 has the plain form alone."""
    return tensor.dtype != torch.float64 and runs_triton(tensor)


def spread(
    x: Tensor, values: Tensor | None, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor | None]:
    """``out[row_of[t, j]] = x[t]``, and the same for a value of each slot.

    Args:
        x: ``[N, h]``. Read by strides if its last dimension is contiguous, else copied first.
        values: ``[N, k]`` or None.
        row_of, offsets: of :func:`~kernels.experts.order.order_slots`.

    Returns:
        ``[N·k, h]`` in x's dtype and ``[N·k]`` in the values' dtype, zero from row
        ``offsets[-1]`` on.
    """
    rows, row_values = _spread(x, values, row_of, offsets)
    return rows, None if values is None else row_values


def collect(y: Tensor, row_of: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Tensor:
    """``out[t] = Σ_j w[t, j] · y[row_of[t, j]]`` over the slots that have an expert, in float32.

    Args:
        y: ``[N·k, h]``; rows from ``offsets[-1]`` on are not read.
        row_of, offsets: of :func:`~kernels.experts.order.order_slots`.
        weights: ``[N, k]``, or None for ones.

    Returns:
        ``[N, h]`` in y's dtype.
    """
    out: Tensor = (
        _collect(y, None, row_of, offsets)[0]
        if weights is None
        else _collect_weighted(y, weights, row_of, offsets)
    )
    return out


def readable(x: Tensor) -> Tensor:
    """``x``, or a contiguous copy where its last dimension is not contiguous."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


@torch.library.custom_op("leyden::experts_spread", mutates_args=())
def _spread(
    x: Tensor, values: Tensor | None, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    if not runs_fused(x):
        return plain_spread(x, values, row_of, offsets)
    from . import device

    x, (tokens, choices), width = readable(x), row_of.shape, x.shape[1]
    rows = x.new_empty((tokens * choices, width))
    row_values = x.new_empty(0) if values is None else values.new_empty(tokens * choices)
    tile = row_tile(width)
    if tokens:
        device.spread_kernel[row_grid(tokens, width)](
            x,
            x if values is None else values.contiguous(),
            row_of,
            offsets,
            rows,
            row_values,
            tokens,
            width,
            x.stride(0),
            offsets.shape[0],
            CHOICES=choices,
            TOKENS=tile.rows,
            BLOCK=tile.columns,
            VALUES=values is not None,
            num_warps=WARPS,
        )
    return rows, row_values


@_spread.register_fake
def _(x: Tensor, values: Tensor | None, row_of: Tensor, _offsets: Tensor) -> tuple[Tensor, Tensor]:
    slots = row_of.shape[0] * row_of.shape[1]
    row_values = x.new_empty(0) if values is None else values.new_empty(slots)
    return x.new_empty((slots, x.shape[1])), row_values


@torch.library.custom_op("leyden::experts_collect", mutates_args=())
def _collect(
    y: Tensor, values: Tensor | None, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    return _launch_collect(y, values, None, row_of, offsets)


@_collect.register_fake
def _(y: Tensor, values: Tensor | None, row_of: Tensor, _offsets: Tensor) -> tuple[Tensor, Tensor]:
    slot_values = y.new_empty(0) if values is None else values.new_empty(row_of.shape)
    return y.new_empty((row_of.shape[0], y.shape[1])), slot_values


@torch.library.custom_op("leyden::experts_collect_weighted", mutates_args=())
def _collect_weighted(y: Tensor, weights: Tensor, row_of: Tensor, offsets: Tensor) -> Tensor:
    return _launch_collect(y, None, weights, row_of, offsets)[0]


@_collect_weighted.register_fake
def _(y: Tensor, _weights: Tensor, row_of: Tensor, _offsets: Tensor) -> Tensor:
    return y.new_empty((row_of.shape[0], y.shape[1]))


@torch.library.custom_op("leyden::experts_collect_weighted_backward", mutates_args=())
def _collect_weighted_backward(
    d_out: Tensor, y: Tensor, weights: Tensor, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    if not runs_fused(y):
        return plain_weighted_backward(d_out, y, weights, row_of, offsets)
    from . import device

    d_out, y, (tokens, choices), width = readable(d_out), readable(y), row_of.shape, y.shape[1]
    d_y, d_weights = y.new_empty(y.shape), weights.new_empty(row_of.shape)
    tile = row_tile(width)
    if tokens:
        device.weighted_backward_kernel[(cdiv(tokens, tile.rows),)](
            d_out,
            y,
            row_of,
            offsets,
            weights.contiguous(),
            d_y,
            d_weights,
            tokens,
            width,
            d_out.stride(0),
            y.stride(0),
            offsets.shape[0],
            CHOICES=choices,
            TOKENS=tile.rows,
            BLOCK=tile.columns,
            num_warps=WARPS,
        )
    return d_y, d_weights


@_collect_weighted_backward.register_fake
def _(
    _d_out: Tensor,
    y: Tensor,
    weights: Tensor,
    row_of: Tensor,
    _offsets: Tensor,
) -> tuple[Tensor, Tensor]:
    return y.new_empty(y.shape), weights.new_empty(row_of.shape)


def _launch_collect(
    y: Tensor, values: Tensor | None, weights: Tensor | None, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    if not runs_fused(y):
        return plain_collect(y, values, weights, row_of, offsets)
    from . import device

    y, (tokens, choices), width = readable(y), row_of.shape, y.shape[1]
    out = y.new_empty((tokens, width))
    slot_values = y.new_empty(0) if values is None else values.new_empty(row_of.shape)
    tile = row_tile(width)
    if tokens:
        device.collect_kernel[row_grid(tokens, width)](
            y,
            y if values is None else values.contiguous(),
            row_of,
            offsets,
            y if weights is None else weights.contiguous(),
            out,
            slot_values,
            tokens,
            width,
            y.stride(0),
            offsets.shape[0],
            CHOICES=choices,
            TOKENS=tile.rows,
            BLOCK=tile.columns,
            VALUES=values is not None,
            WEIGHTS=weights is not None,
            num_warps=WARPS,
        )
    return out, slot_values


def _keep_order(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    _, values, row_of, offsets = inputs
    ctx.has_values = values is not None
    ctx.save_for_backward(row_of, offsets)


def _spread_backward(
    ctx: Any, d_rows: Tensor, d_row_values: Tensor
) -> tuple[Tensor, Tensor | None, None, None]:
    row_of, offsets = ctx.saved_tensors
    d_x, d_values = _collect(d_rows, d_row_values if ctx.has_values else None, row_of, offsets)
    return d_x, d_values if ctx.has_values else None, None, None


def _collect_backward(
    ctx: Any, d_out: Tensor, d_slot_values: Tensor
) -> tuple[Tensor, Tensor | None, None, None]:
    row_of, offsets = ctx.saved_tensors
    d_y, d_values = _spread(d_out, d_slot_values if ctx.has_values else None, row_of, offsets)
    return d_y, d_values if ctx.has_values else None, None, None


def _keep_weighted(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _weighted_backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, None, None]:
    y, weights, row_of, offsets = ctx.saved_tensors
    d_y, d_weights = _collect_weighted_backward(d_out, y, weights, row_of, offsets)
    return d_y, d_weights, None, None


_spread.register_autograd(_spread_backward, setup_context=_keep_order)
_collect.register_autograd(_collect_backward, setup_context=_keep_order)
_collect_weighted.register_autograd(_weighted_backward, setup_context=_keep_weighted)
