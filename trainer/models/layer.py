"""A block of the model: token mixer and experts, each behind a norm and beside a residual."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_layer import (
    TransformerLayer,
    TransformerLayerSubmodules,
)
from torch import Tensor

from kernels.norms import add_rms_norm
from trainer.models.config import ModelConfig
from trainer.models.moe import MixtureOfExperts
from trainer.models.norm import LayerNorm
from trainer.models.segments import padding_of


class Block(TransformerLayer):  # type: ignore[misc]
    """``y = α r + mixer(x)``, then ``z = α r' + moe(x')``; x and x' are norms of input and y.

    In a DeepNorm block (arXiv:2203.00555) as MiniMax-01 released it the residuals r and r' are the
    normed x and x': the norm after a sum is the one that opens the next sub-layer. In a pre-norm
    block they are the input and y, and α is 1.
    """

    def __init__(
        self,
        config: ModelConfig,
        submodules: TransformerLayerSubmodules,
        layer_number: int = 1,
        hidden_dropout: float | None = None,
        pg_collection: ProcessGroupCollection | None = None,
        vp_stage: int | None = None,
    ) -> None:
        super().__init__(config, submodules, layer_number, hidden_dropout, pg_collection, vp_stage)
        # Here, because TransformerLayer hands process groups to Megatron-Core's own layer alone.
        self.mlp = MixtureOfExperts(config, self.pg_collection)
        self.mlp.set_layer_number(self.layer_number)
        self.is_moe_layer = True
        self.normed_residual = config.recipe.residual == "deepnorm"
        self.alpha = config.recipe.residual_weight

    def forward(
        self,
        hidden_states: Tensor,
        packed_seq_params: PackedSeqParams | None = None,
        context: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """``[T, 1, h]`` (``[T/tp, 1, h]`` under sequence parallelism) to the same.

        What else Megatron-Core's block passes to a layer (masks, rotary tables) is not used.
        """
        x = self.input_layernorm(hidden_states)
        mixed, _ = self.self_attention(x, packed_seq_params=packed_seq_params)
        norm = self.pre_mlp_layernorm
        total, normed = add_rms_norm(
            x if self.normed_residual else hidden_states,
            mixed,
            norm.weight,
            alpha=self.alpha,
            eps=norm.eps,
        )
        # Set at each call: under recomputation and pipelines other micro-batches lie in between.
        self.mlp.router.padding = padding_of(packed_seq_params)
        out, _ = self.mlp(normed)
        residual = normed if self.normed_residual else total
        return torch.add(out, residual, alpha=self.alpha), context


def block_spec(mixer: ModuleSpec) -> ModuleSpec:
    """What builds a block around a token mixer."""
    return ModuleSpec(
        module=Block,
        submodules=TransformerLayerSubmodules(
            input_layernorm=LayerNorm,
            self_attention=mixer,
            pre_mlp_layernorm=LayerNorm,
        ),
    )
