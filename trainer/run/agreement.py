"""What ranks tell each other before a step, so that all do the same about what one found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from trainer.data.errors import BadShard

_T = TypeVar("_T")


def of_first(work: Callable[[], _T]) -> _T:
    """What ``work`` returns on the first rank, on all; raises on all what it raises there."""
    told: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            told[0] = work()
        except Exception as error:  # noqa: BLE001 - raised on every rank below
            told[1] = error
    if dist.get_world_size() > 1:
        dist.broadcast_object_list(told)
    if told[1] is not None:
        raise told[1]
    found: _T = told[0]
    return found


def bad_sequences(own: Mapping[int, BadShard], device: torch.device) -> Mapping[int, BadShard]:
    """The sequences that any rank cannot read, with what the first such rank says; all call it.

    One number is reduced in a step where all is well; only a bad shard makes ranks gather texts.
    """
    if dist.get_world_size() == 1:
        return own
    found = torch.tensor(len(own) > 0, dtype=torch.int32, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    if not found:
        return own
    told: list[dict[int, BadShard]] = [{}] * dist.get_world_size()
    dist.all_gather_object(told, dict(own))
    return {i: error for one in reversed(told) for i, error in one.items()}
