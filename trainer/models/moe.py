"""The mixture of experts of a block: Megatron-Core's layer with this project's router, experts."""

from __future__ import annotations

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.moe.moe_layer import MoELayer, MoESubmodules
from megatron.core.utils import get_pg_size
from torch import Tensor

from kernels.experts import grouped_experts
from trainer.models.config import ModelConfig
from trainer.models.experts import GroupedExperts
from trainer.models.router import Router


class MixtureOfExperts(MoELayer):  # type: ignore[misc]
    """Routes each token to k experts and adds up what they make of it.

    Where all experts are on this rank its tokens go to them directly, and on a GPU nothing waits
    for the device. Otherwise Megatron-Core's all-to-all dispatcher carries rows between the ranks;
    it reads back how many.
    """

    def __init__(self, config: ModelConfig, pg_collection: ProcessGroupCollection) -> None:
        submodules = MoESubmodules(experts=GroupedExperts, router=Router)
        super().__init__(config, submodules, pg_collection=pg_collection)
        self.all_here = get_pg_size(pg_collection.ep) == 1

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        """``[t, 1, h]`` to the same."""
        if not self.all_here:
            out, _ = super().forward(hidden_states)
            return out, None
        experts, weights = self.router(hidden_states)
        out, _ = grouped_experts(
            hidden_states.squeeze(1), experts, weights, self.experts.gate_up, self.experts.down
        )
        return out.unsqueeze(1), None

    def route(
        self,
        hidden_states: Tensor,
        padding_mask: Tensor | None = None,  # noqa: ARG002 (the router knows it)
    ) -> tuple[Tensor, Tensor]:
        """Weights fp32 and choices bool, ``[t, E]`` each, as the dispatcher takes them."""
        experts, weights = self.router(hidden_states)
        kept = experts >= 0
        at, shape = experts.clamp(min=0), (len(experts), self.config.num_moe_experts)
        # Added, not set: a dropped slot's zero must not overwrite what the token gives to expert 0.
        dense = weights.new_zeros(shape).scatter_add(1, at, weights * kept)
        counts = torch.zeros(shape, dtype=torch.int8, device=experts.device)
        return dense, counts.scatter_add(1, at, kept.to(torch.int8)) > 0
