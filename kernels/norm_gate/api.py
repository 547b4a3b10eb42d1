"""RMSNorm over all heads times the sigmoid of a gate: how lightning attention ends."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from kernels.norms.passes import check, check_dtype, check_eps, passes


def norm_gate(
    o: Tensor,
    gate: Tensor,
    weight: Tensor,
    eps: float = 1e-6,
    *,
    group: dist.ProcessGroup | None = None,
    sum_of_squares: Tensor | None = None,
) -> Tensor:
    """``y = o / sqrt(mean(o^2) + eps) * weight * sigmoid(gate)``, the mean over all heads.

    The output stage of MiniMax-01's lightning attention (arXiv:2501.08313, figure 3; as released,
    with eps 1e-6 whatever the configuration says), before the output projection. Reads o and gate
    once and writes y; the backward reads o, gate and dy once and writes do and dgate (twice beyond
    a width of 8192, or with a group). Saved for it: the inputs and 4 bytes a token. The weight's
    gradient is summed in a fixed order: the same bits in every run on a machine.

    **Tensor parallelism.** With ``group``, each rank holds the heads of its part of the width and
    the mean runs over the heads of all: one fp32 number a token is summed over the group in the
    forward (of o^2) and one in the backward (of dy * y's derivative * o). Every rank of the group
    must call, and go backward, with the same number of tokens. All parts have one width.

    Args:
        o: ``[..., H, V]`` or ``[..., H * V]``, bf16, fp16 or fp32.
        gate: ``[..., H * V]`` of any of these dtypes; the logits of the gate. A slice of a fused
            projection is read in place.
        weight: ``[H * V]`` of any of these dtypes; with ``group`` this rank's part.
        eps: >= 0.
        group: ranks that hold the other heads.
        sum_of_squares: fp32, ``gate.shape[:-1]``: the sums of this rank's o^2, if whatever made o
            has them; they spare a read of o with ``group``. It is taken at its word and gets no
            gradient: the gradient of o is whole without.

    Returns:
        y: the shape of gate and the dtype of o, contiguous, rounded once from fp32.

    Raises:
        TypeError: for another dtype.
        ValueError: for shapes or devices that do not fit together, or eps < 0.
    """
    check_eps(eps)
    check_dtype("o", o)
    if weight.ndim != 1 or weight.shape[0] == 0:
        raise ValueError(f"weight: found shape {tuple(weight.shape)}, expected [H * V]")
    width = weight.shape[0]
    check("weight", weight, o, (width,))
    tokens = gate.shape[:-1]
    check("gate", gate, o, (*tokens, width))
    heads = o.shape[len(tokens) :]
    if o.shape[: len(tokens)] != tokens or len(heads) not in (1, 2) or heads.numel() != width:
        raise ValueError(
            f"o: found shape {tuple(o.shape)}, expected {(*tokens, width)}, or {tuple(tokens)} and "
            f"two dimensions H, V with H * V = {width}, to fit gate and weight"
        )
    sums = None
    if sum_of_squares is not None:
        check("sum_of_squares", sum_of_squares, o, tuple(tokens))
        if sum_of_squares.dtype != torch.float32:
            raise TypeError(f"sum_of_squares: found {sum_of_squares.dtype}, expected float32")
        sums = sum_of_squares.detach().reshape(-1)
    name = "" if group is None or group.size() == 1 else group.group_name
    ranks = 1 if group is None else group.size()
    rows, gates = o.reshape(-1, width), gate.reshape(-1, width)
    y: Tensor = _norm_gate(rows, gates, weight, sums, eps, ranks, name)[0]
    return y.reshape(gate.shape)


def _summed(values: Tensor, group: str) -> Tensor:
    """``values``, summed in place over the group of this name; the empty name stands for none."""
    if group:
        # An operator takes no process group, only its name; torch has no public way back.
        found = distributed_c10d._resolve_process_group(group)  # type: ignore[attr-defined,arg-type]
        dist.all_reduce(values, group=found)
    return values


@torch.library.custom_op("leyden::norm_gate", mutates_args=())
def _norm_gate(
    o: Tensor,
    gate: Tensor,
    weight: Tensor,
    sums: Tensor | None,
    eps: float,
    ranks: int,
    group: str,
) -> tuple[Tensor, Tensor]:
    """y, and the sums of squares over all ranks."""
    work = passes(o)
    squares = None
    if sums is not None:
        squares = _summed(sums.clone(), group)
    elif group:
        squares = _summed(work.sum_of_squares(o), group)
    y, squares, _ = work.forward(
        o, weight, gate, None, squares, full_width=ranks * o.shape[1], alpha=1.0, eps=eps
    )
    return y, squares


@_norm_gate.register_fake
def _(o: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return o.new_empty(o.shape), o.new_empty(o.shape[0], dtype=torch.float32)


@torch.library.custom_op("leyden::norm_gate_backward", mutates_args=())
def _norm_gate_backward(
    o: Tensor,
    gate: Tensor,
    weight: Tensor,
    wants_weight: bool,
    dy: Tensor,
    squares: Tensor,
    eps: float,
    ranks: int,
    group: str,
) -> tuple[Tensor, Tensor, Tensor]:
    work = passes(o)
    moments = _summed(work.moments(dy, o, weight, gate), group) if group else None
    do, _, dgate, dweight = work.backward(
        dy,
        o,
        weight,
        gate,
        squares,
        moments,
        None,
        full_width=ranks * o.shape[1],
        alpha=1.0,
        eps=eps,
        wants_gain=wants_weight,
        wants_residual=False,
    )
    return do, dgate, o.new_empty(0) if dweight is None else dweight


@_norm_gate_backward.register_fake
def _(
    o: Tensor, gate: Tensor, weight: Tensor, wants_weight: bool, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    dweight = weight.new_empty(weight.shape) if wants_weight else o.new_empty(0)
    return o.new_empty(o.shape), gate.new_empty(gate.shape), dweight


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    o, gate, weight, _, ctx.eps, ctx.ranks, ctx.group = inputs
    ctx.save_for_backward(o, gate, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, dy: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    o, gate, weight, squares = ctx.saved_tensors
    wants_weight = ctx.needs_input_grad[2]
    do, dgate, dweight = _norm_gate_backward(
        o, gate, weight, wants_weight, dy, squares, ctx.eps, ctx.ranks, ctx.group
    )
    return do, dgate, dweight if wants_weight else None, None, None, None, None


_norm_gate.register_autograd(_gradients, setup_context=_setup)
