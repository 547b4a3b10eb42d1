"""Softmax attention with grouped queries as a token mixer of Megatron-Core."""

from __future__ import annotations

from inspect import signature
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.module import MegatronModule
from megatron.core.utils import get_pg_size
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from kernels.rotary import rotary
from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations, xavier
from trainer.models.mixer_flops import MixerFlops
from trainer.models.recipe import ModelRecipe
from trainer.models.segments import boundaries


class SoftmaxAttention(MegatronModule):  # type: ignore[misc]
    """Causal attention within segments; rotary positions, from 0 in each, on a part of the head.

    Grouped queries (arXiv:2305.13245), scale ``1/√d``, no bias (MiniMax-01, arXiv:2501.08313,
    section 2; half of each head is rotated there). Rows of ``linear_qkv`` are Megatron-Core's: for
    each KV head its queries, its key, its value; a tensor-parallel rank holds consecutive groups.

    Args:
        config: of the model.
        layer_number: from 1; not used.
        pg_collection: process groups, of which ``tp`` is used.
    """

    def __init__(
        self,
        config: ModelConfig,
        layer_number: int,  # noqa: ARG002 (every mixer is given it)
        pg_collection: ProcessGroupCollection,
    ) -> None:
        super().__init__(config)
        recipe = config.recipe
        self.tp_group = pg_collection.tp
        ranks = get_pg_size(self.tp_group)
        self.groups, self.head_dim = recipe.kv_heads // ranks, recipe.head_dim
        self.queries = recipe.heads // recipe.kv_heads
        self.rotary_dim, self.rope_base = recipe.rotary_dim, config.rope_base
        inner = recipe.heads * recipe.head_dim
        common: dict[str, Any] = {
            "config": config,
            "init_method": config.init_method,
            "bias": False,
            "skip_bias_add": False,
            "tp_group": self.tp_group,
        }
        rows = inner + 2 * recipe.kv_heads * recipe.head_dim
        self.linear_qkv = ColumnParallelLinear(recipe.hidden, rows, **common)
        self.linear_proj = RowParallelLinear(inner, recipe.hidden, input_is_parallel=True, **common)

    def forward(
        self,
        hidden_states: Tensor,
        packed_seq_params: PackedSeqParams | None = None,
    ) -> tuple[Tensor, None]:
        """``[T, 1, h]`` to the same, or ``[T/tp, 1, h]`` each under sequence parallelism."""
        cu_seqlens, longest = boundaries(packed_seq_params)
        qkv, _ = self.linear_qkv(hidden_states)
        tokens = qkv.shape[0]
        grouped = qkv.view(tokens, self.groups, self.queries + 2, self.head_dim)
        q = grouped[:, :, : self.queries].reshape(1, tokens, -1, self.head_dim)
        k, v = grouped[None, :, :, self.queries], grouped[:, :, self.queries + 1]
        q, k = rotary(q, k, rotary_dim=self.rotary_dim, base=self.rope_base, cu_seqlens=cu_seqlens)
        o = attend(q[0], k[0], v, cu_seqlens, longest)
        out, _ = self.linear_proj(o.reshape(tokens, 1, -1))
        return out, None

    def deviations(self) -> Deviations:
        """Xavier for each of q, k, v and output; β on v and output."""
        recipe = self.config.recipe
        hidden, d, gain = recipe.hidden, recipe.head_dim, recipe.initial_gain
        inner, shared = recipe.heads * d, recipe.kv_heads * d
        q = torch.full((self.queries * d,), xavier(hidden, inner))
        k = torch.full((d,), xavier(hidden, shared))
        return {
            "linear_qkv.weight": torch.cat([q, k, gain * k]).repeat(recipe.kv_heads),
            "linear_proj.weight": gain * xavier(inner, hidden),
        }

    @staticmethod
    def flops(recipe: ModelRecipe, segments: npt.NDArray[np.int64]) -> MixerFlops:
        """Of a layer over segments of so many tokens each, int64 ``[segments]``: every token meets
        those up to itself."""
        tokens, inner = int(segments.sum()), recipe.heads * recipe.head_dim
        width = 2 * inner + 2 * recipe.kv_heads * recipe.head_dim  # q and output, k and v
        # In Python's integers: a segment of 2³² tokens squared would wrap around in int64.
        pairs = sum(n * (n + 1) // 2 for n in segments.tolist())
        return MixerFlops(2 * tokens * recipe.hidden * width, 4 * pairs * inner)


def attend(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """Causal softmax attention of packed segments, scale ``1/√d``.

    On a GPU in 16 bits this is one launch of torch's variable-length flash attention; elsewhere
    torch's attention goes over one segment after another.

    Args:
        q: ``[T, H, d]``; k, v: ``[T, Hk, d]``, Hk a divisor of H: head h reads ``h // (H/Hk)``.
        cu_seqlens: int32 ``[n + 1]``, boundaries from 0 to T.
        longest: at least the tokens of the longest segment.

    Returns:
        ``[T, H, d]`` in q's dtype.
    """
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        return _flash(q, k, v, cu_seqlens, longest)
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    parts = [
        scaled_dot_product_attention(
            q[:, :, start:end], k[:, :, start:end], v[:, :, start:end],
            is_causal=True, enable_gqa=True,
        )
        for start, end in pairwise(cu_seqlens.tolist())
        if start < end
    ]  # fmt: skip
    return torch.cat(parts, 2)[0].transpose(0, 1)


def _flash(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """``attend`` on a GPU in 16 bits."""
    from torch.nn.attention.varlen import varlen_attn

    # Flash attention shares keys by itself; later versions of torch ask to be told so.
    shared: dict[str, Any] = {}
    if "enable_gqa" in signature(varlen_attn).parameters:
        shared["enable_gqa"] = q.shape[1] != k.shape[1]
    found = varlen_attn(
        q, k, v, cu_seqlens, cu_seqlens, longest, longest, window_size=(-1, 0), **shared
    )
    assert isinstance(found, Tensor)
    return found
