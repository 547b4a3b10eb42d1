"""The plain torch forms of the row operators and of SwiGLU: what a CPU runs, and float64 anywhere.

They look at the last offset on the host, which costs nothing on a CPU and lets dropped rows be left
alone instead of masked.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu


def wide(dtype: torch.dtype) -> torch.dtype:
    """What sums run in: float32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


def plain_spread(
    x: Tensor, values: Tensor | None, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """``rows.spread``; an empty tensor for no values."""
    kept, slots = int(offsets[-1]), row_of.numel()
    count = torch.arange(slots, device=x.device)
    slot_of = torch.empty_like(count).scatter_(0, row_of.reshape(-1).long(), count)
    rows = x.index_select(0, slot_of // row_of.shape[1])
    rows[kept:] = 0
    if values is None:
        return rows, x.new_empty(0)
    row_values = values.reshape(-1).index_select(0, slot_of)
    row_values[kept:] = 0
    return rows, row_values


def plain_collect(
    y: Tensor, values: Tensor | None, weights: Tensor | None, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """``rows.collect``, and the value of each slot's row; an empty tensor for no values."""
    kept = int(offsets[-1])
    unused = row_of >= kept if kept < row_of.numel() else None
    total = None
    for choice in range(row_of.shape[1]):
        term = y.index_select(0, row_of[:, choice]).to(wide(y.dtype))
        if unused is not None:
            term.masked_fill_(unused[:, choice, None], 0)
        if weights is not None:
            term.mul_(weights[:, choice, None])
        total = term if total is None else total.add_(term)
    assert total is not None
    if values is None:
        return total.to(y.dtype), y.new_empty(0)
    slot_values = values.index_select(0, row_of.reshape(-1)).view(row_of.shape)
    if unused is not None:
        slot_values.masked_fill_(unused, 0)
    return total.to(y.dtype), slot_values


def plain_weighted_backward(
    d_out: Tensor, y: Tensor, weights: Tensor, row_of: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of a weighted collect for ``y`` and the weights."""
    unused = row_of >= offsets[-1]
    d_y, d_weights = torch.empty_like(y), torch.empty_like(weights)
    for choice in range(row_of.shape[1]):
        mask = unused[:, choice, None]
        d_term = d_out.to(wide(y.dtype)).masked_fill(mask, 0)
        term = y.index_select(0, row_of[:, choice]).masked_fill(mask, 0)
        d_weights[:, choice] = (d_term * term).sum(1)
        d_y[row_of[:, choice].long()] = (d_term * weights[:, choice, None]).to(y.dtype)
    return d_y, d_weights


def plain_swiglu(gate_up: Tensor, scales: Tensor | None, offsets: Tensor) -> Tensor:
    """``activation.swiglu``."""
    kept = int(offsets[-1])
    gate, up = gate_up[:kept].to(wide(gate_up.dtype)).chunk(2, dim=-1)
    result = silu(gate).mul_(up)
    if scales is not None:
        result.mul_(scales[:kept, None])
    hidden = gate_up.new_empty((gate_up.shape[0], gate_up.shape[1] // 2))
    hidden[:kept] = result
    hidden[kept:] = 0
    return hidden


def plain_swiglu_backward(
    gate_up: Tensor, scales: Tensor | None, offsets: Tensor, d_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of ``activation.swiglu`` for its input and the scales."""
    kept, width = int(offsets[-1]), gate_up.shape[1] // 2
    gate, up = gate_up[:kept].to(wide(gate_up.dtype)).chunk(2, dim=-1)
    d_result = d_hidden[:kept].to(wide(gate_up.dtype))
    d_up, d_activated = silu(gate).mul_(d_result), d_result * up
    d_scales = gate_up.new_empty(0)
    if scales is not None:
        d_scales = scales.new_zeros(scales.shape)
        d_scales[:kept] = torch.linalg.vecdot(d_up, up)
        d_up.mul_(scales[:kept, None])
        d_activated.mul_(scales[:kept, None])
    d_gate_up = gate_up.new_empty(gate_up.shape)
    d_gate_up[:kept, :width] = torch.ops.aten.silu_backward(d_activated, gate)
    d_gate_up[:kept, width:] = d_up
    d_gate_up[kept:] = 0
    return d_gate_up, d_scales
