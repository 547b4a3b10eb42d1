"""What the process that ranks are forked from imports: it takes seconds, once."""

# ruff: noqa: F401
import megatron.core.dist_checkpointing.strategies.fully_parallel
import megatron.core.models.gpt.gpt_layer_specs
import megatron.core.optimizer

import kernels.cross_entropy
import kernels.experts
import kernels.lightning
import kernels.norm_gate
import kernels.norms
import kernels.rotary
import trainer.megatron.checkpoints
import trainer.megatron.optimizer
