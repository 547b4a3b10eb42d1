"""Grouped matrix products: rows of one expert with that expert's matrix.

On a GPU in bfloat16, and on a CPU, the product is ``torch.nn.functional.grouped_mm``: one launch
for all experts, and (from compute capability 9.0 on) no look at the offsets from the host. It asks
for widths that are multiples of 16 bytes, not for such group sizes: every operand is row-major, so
only widths decide where a group begins. Anything else (float32 and float16 on a GPU, other widths,
float64) is a loop of one product an expert, which on a GPU waits for the offsets: **float32 on a
GPU is for tests, not for speed, and cannot be captured in a CUDA graph.**

On a CPU neither form is faster by more than a tenth (``python -m benchmarks.kernels.experts``
without a GPU prints both), so a CPU runs what a GPU does.

The backward is ours and not autograd's, since grouped_mm leaves two things undefined: rows after
the last expert's (pytorch issue 154557), and on Blackwell the weight gradient of an expert without
rows (pytorch issue 172439, CUTLASS issue 2674).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm

from kernels.triton_support import cdiv

from .tiles import WARPS, ZERO_BLOCK, ZERO_PROGRAMS

BLACKWELL = (10, 0)


@torch.library.custom_op("leyden::experts_product", mutates_args=())
def grouped_product(x: Tensor, weight: Tensor, offsets: Tensor, transposed: bool) -> Tensor:
    """``y[r] = W_e x[r]`` (or ``W_eᵀ x[r]``) for the rows r of every expert e.

    Args:
        x: ``[M, K]``, rows grouped by expert.
        weight: ``[E, N, K]``; with ``transposed`` ``[E, K, N]``.
        offsets: int32 ``[E]``, the row at which each expert ends.

    Returns:
        ``[M, N]`` in x's dtype. Rows from ``offsets[-1]`` on are zero on a CPU and undefined on a
        GPU.
    """
    x, weight = x.contiguous(), weight.contiguous()
    right = weight if transposed else weight.transpose(1, 2)
    if not x.shape[0]:
        return x.new_empty((0, right.shape[2]))
    if _is_grouped(x, weight):
        y = grouped_mm(x, right, offs=offsets)
        if not x.is_cuda:
            y[int(offsets[-1]) :] = 0
        return y
    y = x.new_empty((x.shape[0], right.shape[2]))
    begin = 0
    for expert, end in enumerate(offsets.tolist()):
        torch.mm(x[begin:end], right[expert], out=y[begin:end])
        begin = end
    y[begin:] = 0
    return y


@torch.library.custom_op("leyden::experts_product_weight", mutates_args=())
def grouped_outer(d_y: Tensor, x: Tensor, offsets: Tensor) -> Tensor:
    """``dW_e = Σ_r dy[r] x[r]ᵀ`` over the rows r of every expert e; zero for one without rows.

    ``d_y`` is ``[M, N]``, ``x`` ``[M, K]``; the result ``[E, N, K]``.
    """
    d_y, x = d_y.contiguous(), x.contiguous()
    experts = offsets.shape[0]
    if not x.shape[0]:
        return x.new_zeros((experts, d_y.shape[1], x.shape[1]))
    if _is_grouped(d_y, x):
        d_weight = grouped_mm(d_y.t(), x, offs=offsets)
        if x.is_cuda and torch.cuda.get_device_capability(x.device) >= BLACKWELL:
            zero_empty(d_weight, offsets)
        return d_weight
    d_weight = x.new_empty((experts, d_y.shape[1], x.shape[1]))
    begin = 0
    for expert, end in enumerate(offsets.tolist()):
        torch.mm(d_y[begin:end].t(), x[begin:end], out=d_weight[expert])
        begin = end
    return d_weight


def zero_empty(d_weight: Tensor, offsets: Tensor) -> None:
    """Zero, in place, the matrices of ``d_weight`` ``[E, N, K]`` whose experts have no rows."""
    from . import device

    size = d_weight[0].numel()
    programs = min(cdiv(size, ZERO_BLOCK), ZERO_PROGRAMS)
    device.zero_empty_kernel[(offsets.shape[0], programs)](
        offsets, d_weight, size, BLOCK=ZERO_BLOCK, num_warps=WARPS
    )


def _is_grouped(*operands: Tensor) -> bool:
    """Whether grouped_mm takes these contiguous operands, and without waiting for the offsets."""
    dtype = operands[0].dtype
    if operands[0].is_cuda and dtype != torch.bfloat16:
        return False
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    return all(
        tensor.data_ptr() % 16 == 0
        # The rows of a two-dimensional operand are many and lie at multiples of its width; of a
        # matrix both sizes are widths, its own and the result's.
        and all(size * tensor.element_size() % 16 == 0 for size in tensor.shape[1:])
        for tensor in operands
    )


@grouped_product.register_fake
def _(x: Tensor, weight: Tensor, _offsets: Tensor, transposed: bool) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[2 if transposed else 1]))


@grouped_outer.register_fake
def _(d_y: Tensor, x: Tensor, offsets: Tensor) -> Tensor:
    return x.new_empty((offsets.shape[0], d_y.shape[1], x.shape[1]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    x, weight, offsets, ctx.transposed = inputs
    ctx.save_for_backward(x, weight, offsets)


def _backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    x, weight, offsets = ctx.saved_tensors
    d_x = d_weight = None
    if ctx.needs_input_grad[0]:
        d_x = grouped_product(d_y, weight, offsets, not ctx.transposed)
    if ctx.needs_input_grad[1]:
        left, right = (x, d_y) if ctx.transposed else (d_y, x)
        d_weight = grouped_outer(left, right, offsets)
    return d_x, d_weight, None, None


grouped_product.register_autograd(_backward, setup_context=_keep)
