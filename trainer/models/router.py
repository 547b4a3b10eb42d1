"""The router: which experts take a token, with what weight, and what balances them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler, router_gating_linear
from megatron.core.transformer.moe.router import TopKRouter
from megatron.core.utils import get_pg_rank
from torch import Tensor

from kernels.experts import expert_capacity, over_capacity
from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations, xavier
from trainer.models.load import Load


class Choices(NamedTuple):
    """Of N tokens with k choices each.

    Attributes:
        experts: int64 ``[N, k]``, in the order of their probabilities.
        weights: fp32 ``[N, k]``: probabilities of the chosen, which add up to 1.
        dropped: bool ``[N, k]``: beyond the capacity of the expert.
        probabilities: fp32 ``[N, E]``, of all experts.
    """

    experts: Tensor
    weights: Tensor
    dropped: Tensor
    probabilities: Tensor


class Router(TopKRouter):  # type: ignore[misc]
    """Softmax over all experts in fp32, top k, renormalised (MiniMax-01, arXiv:2501.08313, eq. 1).

    Whatever is counted is counted over one packed sequence of L tokens: an expert's capacity, the
    order in which slots beyond it are dropped (larger weight first, or by position), and the
    auxiliary loss. So a sequence is routed the same way on any rank, in any micro-batch. Under
    sequence parallelism the ranks gather their logits and each routes whole sequences.

    The auxiliary loss of a sequence is taken L times, for Megatron-Core divides every gradient by
    the tokens of the step that have a label: with labels on all tokens it comes to the mean over
    sequences. Its gradient goes through ``MoEAuxLossAutoScaler``. ``load`` has what was counted.

    A sequence that only fills a place, because its shard could not be read, is routed like any
    other but counts nowhere: the block says by ``absent``, bool ``[sequences]``, which those are in
    the call that follows.
    """

    def __init__(
        self, config: ModelConfig, pg_collection: ProcessGroupCollection | None = None
    ) -> None:
        super().__init__(config, pg_collection)
        self.load = Load(config.recipe.experts.count)
        self.absent: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states ``[t, 1, h]`` to choices and their weights, ``[t, k]`` each.

        Choices are int64, -1 where the slot is dropped; weights are fp32.

        Raises:
            ValueError: where the tokens of all tensor-parallel ranks are not whole sequences.
        """
        logits = router_gating_linear(hidden_states, self.weight, None, torch.float32)
        logits = logits.view(-1, self.num_experts)
        tokens = logits.shape[0]
        if self.config.sequence_parallel:
            # Each rank goes on with its own part of what it routes: no gradients are added.
            logits = gather_from_sequence_parallel_region(
                logits, tensor_parallel_output_grad=False, group=self.tp_group
            )
        chosen = choose(logits, self.config)
        experts = chosen.experts.masked_fill(chosen.dropped, -1)
        weights = self._balance(chosen)
        if not self.config.sequence_parallel:
            return experts, weights
        first = tokens * get_pg_rank(self.tp_group)
        return experts[first : first + tokens], weights[first : first + tokens]

    def _balance(self, chosen: Choices) -> Tensor:
        """The weights, carrying the gradient of the auxiliary loss; counts the load."""
        # A forward pass that recomputation will repeat is without gradients, and not counted.
        if not torch.is_grad_enabled():
            return chosen.weights
        aux = auxiliary_losses(chosen, self.config)
        experts, dropped = chosen.experts, chosen.dropped
        if self.absent is not None:
            there = ~self.absent
            tokens = there.repeat_interleave(self.config.sequence_tokens)
            aux, experts, dropped = aux[there], experts[tokens], dropped[tokens]
        self.load.add(experts, dropped, aux.detach())
        if not self.training or self.config.recipe.experts.aux_loss.coefficient == 0:
            return chosen.weights
        total = aux.sum() * self.config.sequence_tokens
        weights: Tensor = MoEAuxLossAutoScaler.apply(chosen.weights, total)
        return weights

    def deviations(self) -> Deviations:
        """Xavier."""
        return {"weight": xavier(self.config.recipe.hidden, self.num_experts)}


def choose(logits: Tensor, config: ModelConfig) -> Choices:
    """Routes whole sequences by their logits, fp32 ``[N, E]``.

    Raises:
        ValueError: unless N is a multiple of ``config.sequence_tokens``.
    """
    sizes, length = config.recipe.experts, config.sequence_tokens
    tokens = logits.shape[0]
    if tokens % length:
        raise ValueError(
            f"found {tokens} tokens to route, expected whole sequences of {length}; a micro-batch "
            "holds whole packed sequences"
        )
    probabilities = torch.softmax(logits, -1)
    top, experts = probabilities.topk(sizes.top_k, -1)
    weights = top / top.sum(-1, keepdim=True)
    if sizes.capacity_factor is None:
        dropped = torch.zeros_like(experts, dtype=torch.bool)
    else:
        dropped = over_capacity(
            experts,
            weights.detach(),
            sizes.count,
            expert_capacity(length, sizes.top_k, sizes.count, sizes.capacity_factor),
            drop=sizes.drop,
            sequence_ids=torch.arange(tokens, device=logits.device) // length,
        )
    return Choices(experts, weights, dropped, probabilities)


def auxiliary_losses(chosen: Choices, config: ModelConfig) -> Tensor:
    """fp32 ``[sequences]``: ``coefficient · scale · Σ_i f_i m_i`` (see ``recipe.AuxLoss``)."""
    sizes, length = config.recipe.experts, config.sequence_tokens
    rows = chosen.experts.reshape(-1, length * sizes.top_k)
    slots = torch.zeros(rows.shape[0], sizes.count, dtype=torch.float32, device=rows.device)
    slots.scatter_add_(1, rows, torch.ones_like(rows, dtype=torch.float32))
    share = slots / rows.shape[1]
    mean = chosen.probabilities.view(-1, length, sizes.count).mean(1)
    scale = 1 / sizes.count if sizes.aux_loss.scale == "paper" else sizes.count
    return sizes.aux_loss.coefficient * scale * (share * mean).sum(1)
