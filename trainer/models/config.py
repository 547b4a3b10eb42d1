"""A model recipe as the configuration that Megatron-Core passes to every module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn.functional import silu

from trainer.models.recipe import ModelRecipe

if TYPE_CHECKING:
    from trainer.megatron.start import Layout

ROW_MULTIPLE = 64
"""Each tensor-parallel rank holds a multiple of this many rows of the vocabulary."""


@dataclass
class ModelConfig(TransformerConfig):  # type: ignore[misc]
    """Megatron's configuration, and what it has no field for.

    Attributes:
        recipe: the model's sizes and choices.
        vocab_size: entries of the vocabulary, without padding rows.
        sequence_tokens: L, the tokens of one packed sequence. Capacity, drops and the auxiliary
            loss of a mixture of experts are counted over L tokens.
        rope_base: of this stage; a recipe's is only its first.
    """

    recipe: ModelRecipe = field(kw_only=True)
    vocab_size: int = field(kw_only=True)
    sequence_tokens: int = field(kw_only=True)
    rope_base: float = field(kw_only=True)


def transformer_config(
    recipe: ModelRecipe,
    *,
    vocab_size: int,
    sequence_tokens: int,
    rope_base: float,
    parallel: Layout,
    dtype: torch.dtype = torch.float32,
    recompute: bool = False,
) -> ModelConfig:
    """The configuration of a model under a layout; arguments as of :func:`.build.build_model`.

    Sequence parallelism goes with tensor parallelism. Experts are cut by expert parallelism alone
    (each lies whole on a rank), and weights are left for :mod:`.initialise` to draw.

    Raises:
        ValueError: where the sizes cannot be cut as the layout asks.
    """
    _check(recipe, vocab_size, sequence_tokens, parallel)
    return ModelConfig(
        recipe=recipe,
        vocab_size=vocab_size,
        sequence_tokens=sequence_tokens,
        rope_base=rope_base,
        num_layers=recipe.layers,
        hidden_size=recipe.hidden,
        num_attention_heads=recipe.heads,
        num_query_groups=recipe.kv_heads,
        kv_channels=recipe.head_dim,
        ffn_hidden_size=recipe.experts.ffn,
        moe_ffn_hidden_size=recipe.experts.ffn,
        normalization="RMSNorm",
        layernorm_epsilon=recipe.norm_eps,
        add_bias_linear=False,
        gated_linear_unit=True,
        activation_func=silu,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        num_moe_experts=recipe.experts.count,
        moe_router_topk=recipe.experts.top_k,
        moe_router_dtype="fp32",
        # The router here balances and drops by itself. A capacity still has to be said: it tells
        # the dispatcher that the number of rows it sends is not known beforehand.
        moe_router_load_balancing_type="none",
        moe_aux_loss_coeff=0.0,
        moe_expert_capacity_factor=recipe.experts.capacity_factor,
        moe_token_dispatcher_type="alltoall",  # noqa: S106
        tensor_model_parallel_size=parallel.tp,
        pipeline_model_parallel_size=parallel.pp,
        expert_model_parallel_size=parallel.ep,
        expert_tensor_parallel_size=1,
        sequence_parallel=parallel.tp > 1,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        # Parameters are made on the device in force and drawn afterwards, whatever the layout.
        use_cpu_initialization=True,
        perform_initialization=False,
        calculate_per_token_loss=True,
        # Layers differ in their mixers, so a checkpoint names each by its number.
        hetereogenous_dist_checkpoint=True,
        recompute_granularity="full" if recompute else None,
        recompute_method="uniform" if recompute else None,
        recompute_num_layers=1 if recompute else None,
    )


def padded_vocab(vocab_size: int, tp: int) -> int:
    """Rows of the embedding and the head over all ranks: a multiple of 64 for each of ``tp``."""
    multiple = ROW_MULTIPLE * tp
    return -(-vocab_size // multiple) * multiple


def _check(recipe: ModelRecipe, vocab_size: int, sequence_tokens: int, parallel: Layout) -> None:
    cuts = [
        ("heads", recipe.heads, parallel.tp),
        ("kv_heads", recipe.kv_heads, parallel.tp),
        ("experts.count", recipe.experts.count, parallel.ep),
        ("layers", recipe.layers, parallel.pp),
        ("sequence_tokens", sequence_tokens, parallel.tp),
    ]
    if recipe.vision is not None:
        cuts += [
            ("hidden", recipe.hidden, parallel.tp),
            ("vision.heads", recipe.vision.heads, parallel.tp),
            ("vision.ffn", recipe.vision.ffn, parallel.tp),
        ]
    for name, count, ways in cuts:
        if count < 1 or count % ways:
            raise ValueError(
                f"model {recipe.name}: found {name} {count} for {ways} ranks, expected a multiple "
                f"of {ways}; choose another layout than {parallel}"
            )
    if vocab_size <= padded_vocab(vocab_size, parallel.tp) // parallel.tp * (parallel.tp - 1):
        raise ValueError(
            f"model {recipe.name}: found {vocab_size} entries of the vocabulary for "
            f"{parallel.tp} tensor-parallel ranks of multiples of {ROW_MULTIPLE}, expected enough "
            "that none is left without; choose fewer ranks"
        )
