"""SwiGLU experts of one rank, computed together."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.layers import set_tensor_model_parallel_attributes
from megatron.core.transformer.module import MegatronModule
from megatron.core.utils import get_pg_rank, get_pg_size
from torch import Tensor, nn

from kernels.experts import experts
from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations, xavier


class GroupedExperts(MegatronModule):  # type: ignore[misc]
    """``W_d (SiLU(W_g x) ⊙ W_u x)`` of each local expert, for rows grouped by expert.

    Weights are two tensors over the ``E/ep`` experts of this rank: ``gate_up [E/ep, 2F, h]``, the
    gate's rows first, and ``down [E/ep, h, F]``, the fused layout of transformers.

    They are marked ``allreduce = False`` under every layout: Megatron-Core then reduces their
    gradients over the ranks that hold the same experts, which are not the data-parallel ones when
    experts lie whole on tensor-parallel ranks; and its optimizer has one shape, so that a
    checkpoint with expert parallelism loads without. They are marked as cut over tensor-parallel
    ranks too, though none is: what is not, Megatron-Core counts on the first of those ranks alone
    in the norm of gradients, and the experts of the others would be missing.
    """

    def __init__(
        self,
        num_local_experts: int,
        config: ModelConfig,
        pg_collection: ProcessGroupCollection,
    ) -> None:
        super().__init__(config)
        self.ep_group, self.expt_dp_group = pg_collection.ep, pg_collection.expt_dp
        hidden, ffn = config.recipe.hidden, config.recipe.experts.ffn
        for name, shape in (("gate_up", (2 * ffn, hidden)), ("down", (hidden, ffn))):
            weight = nn.Parameter(torch.empty(num_local_experts, *shape, dtype=config.params_dtype))
            weight.allreduce = False  # type: ignore[attr-defined]
            set_tensor_model_parallel_attributes(weight, True, 0, 1)
            self.register_parameter(name, weight)

    def forward(
        self, rows: Tensor, tokens_per_expert: Tensor, probabilities: Tensor
    ) -> tuple[Tensor, None]:
        """Rows ``[M, h]`` grouped by local expert to ``[M, h]``, weighed by ``probabilities``.

        ``tokens_per_expert``: integer ``[E/ep]``, on any device. ``probabilities``: ``[M]``.
        """
        offsets = tokens_per_expert.cumsum(0).to(torch.int32)
        offsets = offsets.to(rows.device, non_blocking=True)
        return experts(rows, self.gate_up, self.down, offsets, probabilities), None

    def deviations(self) -> Deviations:
        """Xavier for gate, up and down of each expert, times β."""
        recipe = self.config.recipe
        found = recipe.initial_gain * xavier(recipe.hidden, recipe.experts.ffn)
        return {"gate_up": found, "down": found}

    def sharded_state_dict(
        self,
        prefix: str = "",
        sharded_offsets: tuple[tuple[int, int, int], ...] = (),
        metadata: dict[str, Any] | None = None,  # noqa: ARG002 (Megatron-Core passes it)
    ) -> dict[str, Any]:
        """Each weight cut along its experts, with copies on expert-data-parallel ranks."""
        axis = len(sharded_offsets)
        place = (axis, get_pg_rank(self.ep_group), get_pg_size(self.ep_group))
        return {
            f"{prefix}{name}": ShardedTensor.from_rank_offsets(
                f"{prefix}{name}",
                weight,
                *sharded_offsets,
                place,
                replica_id=(0, 0, get_pg_rank(self.expt_dp_group)),
                prepend_axis_num=axis,
            )
            for name, weight in self.named_parameters()
        }
