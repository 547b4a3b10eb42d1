"""Launch of the rotary kernel."""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.rotary import device
from kernels.triton_support import next_power_of_2

WARPS = 4


class Tile(NamedTuple):
    """What a program holds at a time: ``heads`` of pairs ``half`` and of the ``rest`` (padded)."""

    heads: int
    half: int
    rest: int


def tile(heads: int, head: int, rotary_dim: int) -> Tile:
    """The tile for ``heads`` of size ``head``: 8 pairs a thread, unless there are fewer heads."""
    half = next_power_of_2(rotary_dim // 2)
    rest = next_power_of_2(head - rotary_dim)
    return Tile(
        min(next_power_of_2(heads), max(1, WARPS * 32 * 8 // max(half, rest // 2))), half, rest
    )


def rotate(
    q: Tensor, k: Tensor, positions: Tensor, rotary_dim: int, log2_base: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    """Rotate q ``[B, T, H, D]`` and k ``[B, T, Hk, D]`` at ``[B, T]``, or rotate them back."""
    q = q if q.stride(3) == 1 else q.contiguous()
    k = k if k.stride(3) == 1 else k.contiguous()
    batch, tokens, q_heads, head = q.shape
    k_heads = k.shape[2]
    q_out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    k_out = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    of_q, of_k = tile(q_heads, head, rotary_dim), tile(k_heads, head, rotary_dim)
    # Triton launches on the current device: make it the tensors'.
    with torch.cuda.device(q.device) if q.is_cuda else nullcontext():
        device.rotate[(batch * tokens,)](
            q,
            k,
            positions,
            q_out,
            k_out,
            tokens,
            q_heads,
            k_heads,
            *q.stride()[:3],
            *k.stride()[:3],
            *positions.stride(),
            HEAD=head,
            ROTARY=rotary_dim,
            HALF=of_q.half,
            REST=of_q.rest,
            LOG2_BASE=log2_base,
            INVERSE=inverse,
            Q_BLOCK=of_q.heads,
            K_BLOCK=of_k.heads,
            num_warps=WARPS,
        )
    return q_out, k_out
