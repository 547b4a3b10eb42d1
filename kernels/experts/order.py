"""Which row each slot takes: a stable counting sort of slots by expert.

A **slot** is one choice of one token: slot ``t·k + j`` is choice ``j`` of token ``t``. Rows are
grouped by expert; inside an expert they follow the slots, so by token. Slots without an expert come
after all others. The order is a function of the indices alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.triton_support import cdiv, runs_triton

from .tiles import WARPS, order_tile


@torch.library.custom_op("leyden::experts_order", mutates_args=())
def order_slots(expert_index: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """Row of every slot, and the row at which each expert ends.

    Args:
        expert_index: integer ``[N, k]``, the expert of each slot or -1 for none.
        num_experts: E.

    Returns:
        ``row_of`` int32 ``[N, k]``, a permutation of ``0 … N·k-1``; ``offsets`` int32 ``[E]``:
        expert ``e`` has rows ``offsets[e-1] … offsets[e]-1`` and slots without an expert have rows
        from ``offsets[E-1]`` on.

    Raises:
        ValueError: on a CPU, for an index outside -1 … E-1. On a GPU, where looking would stop
            the stream, such a slot goes to no expert, as -1 does.
    """
    if runs_triton(expert_index):
        return _counting_sort(expert_index.contiguous(), num_experts)
    index = expert_index.reshape(-1)
    if index.numel() and (int(index.min()) < -1 or int(index.max()) >= num_experts):
        raise ValueError(
            f"found expert indices from {int(index.min())} to {int(index.max())}, expected -1 (no "
            f"expert) to {num_experts - 1}; mend the router's choices or num_experts"
        )
    key = torch.where(index < 0, num_experts, index)
    slots = torch.argsort(key, stable=True)
    row_of = torch.empty_like(slots, dtype=torch.int32)
    row_of[slots] = torch.arange(index.numel(), dtype=torch.int32, device=index.device)
    experts = torch.arange(num_experts, dtype=key.dtype, device=key.device)
    offsets = torch.searchsorted(key[slots], experts, right=True, out_int32=True)
    return row_of.view(expert_index.shape), offsets


@order_slots.register_fake
def _(expert_index: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    return (
        expert_index.new_empty(expert_index.shape, dtype=torch.int32),
        expert_index.new_empty((num_experts,), dtype=torch.int32),
    )


def _counting_sort(expert_index: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """Count a block's slots per expert, scan the counts, place the slots: three launches."""
    from . import device

    n = expert_index.numel()
    offsets = expert_index.new_zeros((num_experts,), dtype=torch.int32)
    row_of = expert_index.new_empty(expert_index.shape, dtype=torch.int32)
    if n == 0:
        return row_of, offsets
    tile = order_tile(num_experts)
    blocks = cdiv(n, tile.slots)
    counts = expert_index.new_empty((blocks, tile.columns), dtype=torch.int32)
    shape = {"BLOCK": tile.slots, "COLUMNS": tile.columns, "num_warps": WARPS}
    device.count_kernel[(blocks,)](expert_index, counts, n, num_experts, **shape)
    device.scan_kernel[(1,)](
        counts,
        offsets,
        blocks,
        num_experts,
        ROWS=tile.scanned,
        COLUMNS=tile.columns,
        num_warps=WARPS,
    )
    device.place_kernel[(blocks,)](expert_index, counts, row_of, n, num_experts, **shape)
    return row_of, offsets
