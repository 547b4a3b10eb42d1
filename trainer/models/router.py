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
        dropped: bool ``[N, k]``: beyond the capacity of the expert; never of padding.
        probabilities: fp32 ``[N, E]``, of all experts.
        padding: bool ``[N]``, tokens that no expert takes, whatever they chose; None for none.
    """

    experts: Tensor
    weights: Tensor
    dropped: Tensor
    probabilities: Tensor
    padding: Tensor | None = None

    def taken(self) -> Tensor:
        """int64 ``[N, k]``: the experts that take each token, -1 where a slot has none."""
        without = self.dropped if self.padding is None else self.dropped | self.padding[:, None]
        return self.experts.masked_fill(without, -1)

    def tokens(self, length: int) -> Tensor:
        """int64 ``[sequences]``: how many of the ``length`` tokens of each are no padding."""
        sequences = len(self.experts) // length
        if self.padding is None:
            return torch.full((sequences,), length, device=self.experts.device)
        return (~self.padding).view(sequences, length).sum(1)


class Router(TopKRouter):  # type: ignore[misc]
    """Softmax over all experts in fp32, top k, renormalised (MiniMax-01, arXiv:2501.08313, eq. 1).

    Whatever is counted is counted over one packed sequence of L tokens: an expert's capacity, the
    order in which slots beyond it are dropped (larger weight first, or by position), and the
    auxiliary loss. So a sequence is routed the same way on any rank, in any micro-batch. Under
    sequence parallelism the ranks gather their logits and each routes whole sequences.

    The auxiliary loss of a sequence is taken as often as it has tokens, for Megatron-Core divides
    every gradient by the tokens of the step that have a label: with labels on all tokens it comes
    to the mean over tokens. Its gradient goes through ``MoEAuxLossAutoScaler``. ``load`` has what
    was counted.

    Tokens that only fill a place, behind the last document of a sequence or in one whose shard
    could not be read, go to no expert: they take no room there and count nowhere. The block says
    by ``padding``, bool over all tokens of the micro-batch, which those are in the call that
    follows. Capacity stays that of L tokens.
    """

    def __init__(
        self, config: ModelConfig, pg_collection: ProcessGroupCollection | None = None
    ) -> None:
        super().__init__(config, pg_collection)
        self.load = Load(config.recipe.experts.count)
        self.padding: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states ``[t, 1, h]`` to choices and their weights, ``[t, k]`` each.

        Choices are int64, -1 where the slot is dropped or the token padding; weights are fp32.

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
        chosen = choose(logits, self.config, self.padding)
        experts = chosen.taken()
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
        tokens = chosen.tokens(self.config.sequence_tokens)
        self.load.add(chosen.experts, chosen.dropped, aux.detach(), tokens, chosen.padding)
        coefficient = self.config.recipe.experts.aux_loss.coefficient
        # Of a router that does not train, what comes before it would be trained for balance.
        if not self.training or coefficient == 0 or not self.weight.requires_grad:
            return chosen.weights
        total = (aux * tokens).sum()
        weights: Tensor = MoEAuxLossAutoScaler.apply(chosen.weights, total)
        return weights

    def deviations(self) -> Deviations:
        """Xavier."""
        return {"weight": xavier(self.config.recipe.hidden, self.num_experts)}


def choose(logits: Tensor, config: ModelConfig, padding: Tensor | None = None) -> Choices:
    """Routes whole sequences by their logits, fp32 ``[N, E]``, but for ``padding``, bool ``[N]``.

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
            experts if padding is None else experts.masked_fill(padding[:, None], -1),
            weights.detach(),
            sizes.count,
            expert_capacity(length, sizes.top_k, sizes.count, sizes.capacity_factor),
            drop=sizes.drop,
            sequence_ids=torch.arange(tokens, device=logits.device) // length,
        )
    return Choices(experts, weights, dropped, probabilities, padding)


def auxiliary_losses(chosen: Choices, config: ModelConfig) -> Tensor:
    """fp32 ``[sequences]``: ``coefficient · scale · Σ_i f_i m_i`` (see ``recipe.AuxLoss``).

    Shares and means are over tokens that are no padding; a sequence of padding has a loss of 0.
    """
    sizes, length = config.recipe.experts, config.sequence_tokens
    rows = chosen.experts.reshape(-1, length * sizes.top_k)
    probabilities, one = chosen.probabilities, torch.ones_like(rows, dtype=torch.float32)
    if chosen.padding is not None:
        probabilities = probabilities.masked_fill(chosen.padding[:, None], 0)
        without = chosen.padding[:, None].expand(-1, sizes.top_k)
        one = one.masked_fill(without.reshape(rows.shape), 0)
    slots = torch.zeros(rows.shape[0], sizes.count, dtype=torch.float32, device=rows.device)
    slots.scatter_add_(1, rows, one)
    tokens = chosen.tokens(length).clamp_min(1)[:, None]
    share = slots / (tokens * sizes.top_k)
    mean = probabilities.view(-1, length, sizes.count).sum(1) / tokens
    scale = 1 / sizes.count if sizes.aux_loss.scale == "paper" else sizes.count
    return sizes.aux_loss.coefficient * scale * (share * mean).sum(1)
