"""Lightning attention as a token mixer of Megatron-Core."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.layers import (
    ColumnParallelLinear,
    RowParallelLinear,
    set_tensor_model_parallel_attributes,
)
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.utils import (
    ensure_metadata_has_dp_cp_group,
    make_sharded_tensors_for_checkpoint,
)
from megatron.core.utils import get_pg_rank, get_pg_size
from torch import Tensor, nn

from kernels.lightning import lightning_attention_qkv
from kernels.lightning.slopes import alibi_slopes
from kernels.norm_gate import norm_gate
from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations, xavier
from trainer.models.gathered import gathered_linears
from trainer.models.mixer_flops import MixerFlops
from trainer.models.recipe import ModelRecipe
from trainer.models.segments import boundaries

BLOCK = 256
"""Tokens of a block, inside of which attention is counted as quadratic: MiniMax-01's."""


class LightningAttention(MegatronModule):  # type: ignore[misc]
    """Linear attention with a fixed decay per head, between fused projections.

    ``q, k, v = SiLU(W_qkv x)``; per head ``S_t = e^-s S_{t-1} + k_t v_tᵀ`` and ``o_t = q_tᵀ S_t``;
    ``W_out (RMSNorm(o) · sigmoid(W_gate x))``, the norm over the features of all heads (MiniMax-01,
    arXiv:2501.08313, section 2.2.1 and figure 3; order and epsilon as released). States start anew
    at every boundary of ``cu_seqlens``.

    Under tensor parallelism a rank holds consecutive heads. A row of ``linear_qkv`` belongs to head
    ``row // 3d``, and inside a head to q, k, then v, which is the released layout.

    Args:
        config: of the model.
        layer_number: from 1, over all layers and pipeline stages; slopes depend on it.
        pg_collection: process groups, of which ``tp`` is used.
    """

    def __init__(
        self, config: ModelConfig, layer_number: int, pg_collection: ProcessGroupCollection
    ) -> None:
        super().__init__(config)
        recipe = config.recipe
        self.tp_group = pg_collection.tp
        ranks, rank = get_pg_size(self.tp_group), get_pg_rank(self.tp_group)
        self.heads, self.head_dim = recipe.heads // ranks, recipe.head_dim
        self.eps = recipe.mixer_norm_eps
        inner = recipe.heads * recipe.head_dim
        common: dict[str, Any] = {
            "config": config,
            "init_method": config.init_method,
            "bias": False,
            "skip_bias_add": False,
            "tp_group": self.tp_group,
        }
        self.linear_qkv = ColumnParallelLinear(recipe.hidden, 3 * inner, **common)
        self.linear_gate = ColumnParallelLinear(recipe.hidden, inner, **common)
        self.norm = HeadsNorm(inner // ranks, config, self.tp_group)
        self.linear_proj = RowParallelLinear(inner, recipe.hidden, input_is_parallel=True, **common)
        slopes = alibi_slopes(recipe.heads, layer_number - 1, recipe.layers)
        # Not a buffer: casting a model to 16 bits would round the slopes.
        self.slopes = slopes[rank * self.heads : (rank + 1) * self.heads].clone()

    def forward(
        self,
        hidden_states: Tensor,
        packed_seq_params: PackedSeqParams | None = None,
    ) -> tuple[Tensor, None]:
        """``[T, 1, h]`` to the same, or ``[T/tp, 1, h]`` each under sequence parallelism."""
        cu_seqlens, _ = boundaries(packed_seq_params)
        if self.slopes.device != hidden_states.device:
            self.slopes = self.slopes.to(hidden_states.device)
        if self.config.sequence_parallel:
            weights = (self.linear_qkv.weight, self.linear_gate.weight)
            qkv, gate = gathered_linears(hidden_states, weights, self.tp_group)
        else:
            qkv, gate = (linear(hidden_states)[0] for linear in (self.linear_qkv, self.linear_gate))
        tokens = qkv.shape[0]
        o = lightning_attention_qkv(
            qkv.view(1, tokens, self.heads, 3 * self.head_dim),
            self.slopes,
            cu_seqlens=cu_seqlens,
            activation="silu",
        )
        assert isinstance(o, Tensor)
        gated = norm_gate(
            o, gate.view(1, tokens, -1), self.norm.weight, self.eps, group=self.tp_group
        )
        out, _ = self.linear_proj(gated.view(tokens, 1, -1))
        return out, None

    def deviations(self) -> Deviations:
        """Xavier for each of q, k, v, gate and output; β on all but q and k."""
        recipe = self.config.recipe
        hidden, inner, gain = recipe.hidden, recipe.heads * recipe.head_dim, recipe.initial_gain
        plain = torch.full((recipe.head_dim,), xavier(hidden, inner))
        return {
            "linear_qkv.weight": torch.cat([plain, plain, gain * plain]).repeat(recipe.heads),
            "linear_gate.weight": gain * xavier(hidden, inner),
            "linear_proj.weight": gain * xavier(inner, hidden),
        }

    @staticmethod
    def flops(recipe: ModelRecipe, segments: npt.NDArray[np.int64]) -> MixerFlops:
        """Of a layer over segments of so many tokens each, int64 ``[segments]``.

        Every token updates a state of d x d a head by the outer product of its key and value and
        reads it by its query; inside its block it also meets the tokens up to itself as softmax
        does.
        """
        tokens, inner = int(segments.sum()), recipe.heads * recipe.head_dim
        full, rest = np.divmod(segments, BLOCK)
        pairs = int((full * (BLOCK * (BLOCK + 1) // 2) + rest * (rest + 1) // 2).sum())
        states = 4 * tokens * recipe.head_dim * inner
        # q, k, v, gate and output
        return MixerFlops(2 * tokens * recipe.hidden * 5 * inner, states + 4 * pairs * inner)


class HeadsNorm(MegatronModule):  # type: ignore[misc]
    """The gain ``[H·d/tp]`` of the norm over all heads, cut over the tensor-parallel ranks."""

    def __init__(self, width: int, config: ModelConfig, tp_group: Any) -> None:
        super().__init__(config)
        self.tp_group = tp_group
        self.weight = nn.Parameter(torch.ones(width, dtype=config.params_dtype))
        set_tensor_model_parallel_attributes(self.weight, True, 0, 1)

    def deviations(self) -> Deviations:
        """The gain starts at one."""
        return {"weight": None}

    def sharded_state_dict(
        self,
        prefix: str = "",
        sharded_offsets: tuple[tuple[int, int, int], ...] = (),
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """As Megatron-Core's, with the gain cut along its only dimension."""
        metadata = ensure_metadata_has_dp_cp_group(metadata)
        found: dict[str, Any] = make_sharded_tensors_for_checkpoint(
            self.state_dict(prefix="", keep_vars=True),
            prefix,
            {"weight": 0},
            sharded_offsets,
            tp_group=self.tp_group,
            dp_cp_group=metadata["dp_cp_group"],
        )
        return found
