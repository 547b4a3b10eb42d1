"""Several column-parallel products of one input, which is gathered once."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from megatron.core.utils import get_pg_size
from torch import Tensor


def gathered_linears(x: Tensor, weights: tuple[Tensor, ...], group: Any) -> tuple[Tensor, ...]:
    """``x @ w.T`` for each weight, of an x whose tokens are cut over the ranks of ``group``.

    As Megatron-Core's ``ColumnParallelLinear`` under sequence parallelism, which gathers x anew for
    every weight, forward and backward, and scatters as many gradients: here each once. The gathered
    x is not kept; backward gathers it again, under the product that makes x's gradient.

    Args:
        x: ``[T/ranks, 1, h]``, this rank's tokens.
        weights: ``[rows, h]`` each, this rank's rows.
        group: the tensor-parallel group.

    Returns:
        ``[T, 1, rows]`` for each weight.
    """
    apply: Any = _GatheredLinears.apply
    found: tuple[Tensor, ...] = apply(x, group, *weights)
    return found


def _gather(x: Tensor, group: Any) -> tuple[Tensor, Any]:
    """Room for the tokens of all ranks ``[T, h]``, and what fills it."""
    flat = x.reshape(-1, x.shape[-1])
    whole = flat.new_empty(len(flat) * get_pg_size(group), flat.shape[1])
    return whole, dist.all_gather_into_tensor(whole, flat, group=group, async_op=True)


class _GatheredLinears(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, *weights)
        ctx.group = group
        whole, gathering = _gather(x, group)
        gathering.wait()
        return tuple((whole @ weight.t()).unsqueeze(1) for weight in weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        flat = [gradient.flatten(0, 1) for gradient in gradients]
        whole, gathering = _gather(x, ctx.group)
        by_whole = flat[0] @ weights[0]
        for gradient, weight in zip(flat[1:], weights[1:], strict=True):
            by_whole.addmm_(gradient, weight)
        gathering.wait()
        by_x = x.new_empty(x.shape)
        scattering = dist.reduce_scatter_tensor(
            by_x.view(-1, x.shape[-1]), by_whole, group=ctx.group, async_op=True
        )
        by_weights = [
            gradient.t() @ whole if wanted else None
            for gradient, wanted in zip(flat, ctx.needs_input_grad[2:], strict=True)
        ]
        assert scattering is not None
        scattering.wait()
        return by_x, None, *by_weights
