"""Which slots an expert with a limited capacity does not take.

The decision is made per sequence from that sequence's tokens alone, by a sort with ties broken by
token. So it does not change with the ranks or the micro-batches that a sequence is spread over,
as long as it is asked for whole sequences with their tokens in order.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

DROPS = ("probability", "position")


def expert_capacity(tokens: int, choices: int, num_experts: int, factor: float) -> int:
    """Slots that each expert takes of a sequence of ``tokens``: ``⌈factor · tokens · k / E⌉``.

    A capacity in proportion to tokens over experts is GShard's (arXiv:2006.16668 §2.2). MiniMax-01
    (arXiv:2501.08313, page 5) drops tokens beyond a capacity and does not publish its factor.
    """
    if factor <= 0 or num_experts < 1:
        raise ValueError(
            f"found factor {factor} and {num_experts} experts, expected both above zero"
        )
    return math.ceil(factor * tokens * choices / num_experts)


def over_capacity(
    expert_index: Tensor,
    probabilities: Tensor,
    num_experts: int,
    capacity: int | Tensor,
    *,
    drop: Literal["probability", "position"] = "probability",
    sequence_ids: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Slots beyond the ``capacity`` first ones of their expert in their sequence.

    The order of an expert's slots within a sequence is a parameter. ``"probability"``: larger
    probability first (NaN before all), equal ones by token, then by choice. ``"position"``: by
    token, then by choice.

    Args:
        expert_index: integer ``[N, k]``, -1 for no expert; such slots take no room.
        probabilities: ``[N, k]`` of any floating dtype; read for their order only.
        num_experts: E.
        capacity: slots per expert and sequence; one number, or an integer tensor with one for each
            sequence, read at the sequence's id.
        drop: which order decides.
        sequence_ids: integer ``[N]``, ids ≥ 0 in any arrangement (interleaved sequences too).
        cu_seqlens: integer ``[S+1]`` from 0 to N, for sequences that follow each other. Give one of
            the two, or neither for one sequence.

    Returns:
        bool ``[N, k]``, true for a slot to be dropped. To drop it, set its expert to -1.

    Raises:
        ValueError: for an unknown ``drop``, both kinds of sequences, sizes that do not fit, a
            negative capacity, or (on a CPU) boundaries that do not run from 0 to N.
    """
    if drop not in DROPS:
        raise ValueError(f"found drop={drop!r}, expected one of {DROPS}")
    if isinstance(capacity, int) and capacity < 0:
        raise ValueError(f"found capacity {capacity}, expected 0 or more")
    tokens, choices = expert_index.shape
    if probabilities.shape != expert_index.shape:
        raise ValueError(
            f"found probabilities {tuple(probabilities.shape)} for expert_index "
            f"{tuple(expert_index.shape)}, expected the same shape"
        )
    ids = _sequence_ids(tokens, expert_index.device, sequence_ids, cu_seqlens)
    index = expert_index.reshape(-1).long()
    routed = (index >= 0) & (index < num_experts)
    sequence = ids.repeat_interleave(choices)
    key = sequence * (num_experts + 1) + torch.where(routed, index, num_experts)
    if drop == "probability":
        by_rank = torch.argsort(probabilities.detach().reshape(-1), descending=True, stable=True)
        order = by_rank[torch.argsort(key[by_rank], stable=True)]
    else:
        order = torch.argsort(key, stable=True)
    ordered = key[order].contiguous()
    rank = torch.arange(index.numel(), device=index.device) - torch.searchsorted(ordered, ordered)
    limit = capacity if isinstance(capacity, int) else capacity.to(index.device)[sequence[order]]
    over = torch.empty_like(routed)
    over[order] = (rank >= limit) & routed[order]
    return over.view(tokens, choices)


def _sequence_ids(
    tokens: int, device: torch.device, sequence_ids: Tensor | None, cu_seqlens: Tensor | None
) -> Tensor:
    if sequence_ids is not None and cu_seqlens is not None:
        raise ValueError("found both sequence_ids and cu_seqlens, expected one; leave one out")
    if sequence_ids is not None:
        if sequence_ids.shape != (tokens,):
            raise ValueError(
                f"found sequence_ids {tuple(sequence_ids.shape)}, expected one id for each of the "
                f"{tokens} tokens"
            )
        return sequence_ids.long()
    if cu_seqlens is None:
        return torch.zeros(tokens, dtype=torch.int64, device=device)
    if cu_seqlens.ndim != 1 or cu_seqlens.numel() < 1:
        raise ValueError(
            f"found cu_seqlens {tuple(cu_seqlens.shape)}, expected one dimension: 0, the ends"
        )
    if cu_seqlens.device.type == "cpu":  # elsewhere looking would stop the stream
        ends = cu_seqlens.tolist()
        if ends[0] != 0 or ends[-1] != tokens or ends != sorted(ends):
            raise ValueError(
                f"found cu_seqlens from {ends[0]} to {ends[-1]}, expected boundaries that rise "
                f"from 0 to the number of tokens, {tokens}"
            )
    positions = torch.arange(tokens, dtype=cu_seqlens.dtype, device=device)
    return torch.searchsorted(cu_seqlens.to(device)[1:].contiguous(), positions, right=True)
