"""A small GPT of Megatron-Core's own parts, and steps of it that no layout changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from kernels.norms import RMSNorm
from trainer.megatron.optimizer import (
    OptimizerSettings,
    build_optimizer,
    gradient_norms,
    set_rate,
    step,
    wrap,
)
from trainer.megatron.start import Layout, Ranks, start

VOCABULARY, LENGTH, SEQUENCES, EXPERTS = 64, 16, 4, 4


class Norm(RMSNorm):
    """The project's norm under the arguments that Megatron-Core builds one with."""

    def __init__(self, config: Any, hidden_size: int, eps: float = 1e-5) -> None:
        super().__init__(hidden_size, eps, sequence_parallel=config.sequence_parallel)


class Started(NamedTuple):
    """What a rank trains."""

    ranks: Ranks
    chunks: list[Any]
    optimizer: Any


def transformer_config(layout: Layout, precision: str, **more: Any) -> Any:
    """Two layers of width 32 with four experts, of which a token takes two."""
    from megatron.core.transformer import TransformerConfig

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    sizes = {
        "num_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_moe_experts": EXPERTS,
        "moe_ffn_hidden_size": 32,
        "moe_router_topk": 2,
        "moe_token_dispatcher_type": "alltoall",
        "moe_router_load_balancing_type": "none",
        "add_bias_linear": False,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    return TransformerConfig(
        tensor_model_parallel_size=layout.tp,
        pipeline_model_parallel_size=layout.pp,
        expert_model_parallel_size=layout.ep,
        expert_tensor_parallel_size=1,
        sequence_parallel=layout.tp > 1,
        calculate_per_token_loss=True,
        gradient_accumulation_fusion=False,
        pipeline_dtype=dtype,
        params_dtype=dtype,
        bf16=precision == "bf16",
        **(sizes | more),
    )


def model(ranks: Ranks, config: Any) -> torch.nn.Module:
    """This rank's stage of the GPT."""
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer.transformer_block import (
        TransformerBlockSubmodules,
        get_num_layers_to_build,
    )

    layer = get_gpt_layer_local_spec(num_experts=config.num_moe_experts)
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = Norm
    layers = get_num_layers_to_build(config)
    built: torch.nn.Module = GPTModel(
        config,
        TransformerBlockSubmodules(layer_specs=[layer] * layers, layer_norm=Norm),
        VOCABULARY,
        LENGTH,
        pre_process=ranks.is_first_stage,
        post_process=ranks.is_last_stage,
        share_embeddings_and_output_weights=False,
    )
    return built.bfloat16() if config.bf16 else built


def begin(
    layout: Layout, *, precision: str = "fp32", seed: int = 1, overlap: bool = False, **more: Any
) -> Started:
    """Starts this rank, its model and its optimizer."""
    ranks = start(layout, seed)
    config = transformer_config(layout, precision, **more)
    chunks = wrap(
        [model(ranks, config)],
        config,
        overlap_grad_reduce=overlap,
        overlap_param_gather=overlap,
        bucket_size=4096 if overlap else None,
    )
    settings = OptimizerSettings.model_validate({"precision": precision})
    return Started(ranks, chunks, build_optimizer(chunks, settings))


def gradients(started: Started, number: int) -> float:
    """Forward and backward of batch ``number``, the same on every layout; its mean loss."""
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel import get_forward_backward_func

    ranks, chunks, optimizer = started
    mine = SEQUENCES // ranks.dp_size

    def forward(data: Iterator[int], chunk: Any) -> Any:
        sequence = next(data)
        tokens = (torch.arange(LENGTH) * (number + 1) + sequence)[None] % VOCABULARY
        causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)[None, None]
        losses = chunk(tokens, torch.arange(LENGTH)[None], causal, labels=tokens * 3 % VOCABULARY)

        def total(found: torch.Tensor) -> Any:
            count = torch.tensor(found.numel(), dtype=torch.int)
            return found.float().sum(), count, {"loss": float(found.detach().double().sum())}

        return losses, total

    for chunk in chunks:
        chunk.zero_grad_buffer()
    optimizer.zero_grad()
    found = get_forward_backward_func()(
        forward_step_func=forward,
        data_iterator=iter(range(ranks.dp_rank * mine, (ranks.dp_rank + 1) * mine)),
        model=chunks,
        num_microbatches=mine,
        seq_length=LENGTH,
        micro_batch_size=1,
        forward_only=False,
    )
    loss = torch.tensor(sum(part["loss"] for part in found), dtype=torch.float64)
    # Of a pipeline only the last stage knows it.
    dist.all_reduce(loss, group=parallel_state.get_data_parallel_group())
    dist.all_reduce(
        loss, op=dist.ReduceOp.MAX, group=parallel_state.get_pipeline_model_parallel_group()
    )
    return float(loss) / (SEQUENCES * LENGTH)


def train(started: Started, first: int, count: int, rate: float = 1e-2) -> list[list[float]]:
    """Steps ``first`` and on: each one's loss and global gradient norm."""
    curve = []
    for number in range(first, first + count):
        loss = gradients(started, number)
        set_rate(started.optimizer, rate)
        curve.append([loss, step(started.optimizer)])
    return curve


def norms(started: Started) -> dict[str, float]:
    """Gradient norms of the groups, of the batch whose gradients are there."""
    return gradient_norms(started.optimizer, started.chunks)
