"""A vocabulary cut over the ranks of a process group, rank r holding rows [r·V', (r+1)·V')."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _resolve_process_group  # type: ignore[attr-defined]


class Shard(NamedTuple):
    """This rank's place in a group. ``group`` None: the whole vocabulary is here."""

    group: dist.ProcessGroup | None = None
    rank: int = 0
    ranks: int = 1

    @classmethod
    def of(cls, name: str) -> Shard:
        """The shard of the group registered as ``name``; of an empty name, the whole."""
        if not name:
            return cls()
        group = _resolve_process_group(cast("dist.GroupName", name))
        return cls(group, dist.get_rank(group), dist.get_world_size(group))

    def gathered(self, statistics: torch.Tensor) -> torch.Tensor:
        """Statistics [3, N] over the whole vocabulary, from each rank's own.

        One all-gather of 12 bytes a token and rank. Every rank then adds in the order of ranks, so
        all of them hold the same bits, which a sum made by the network does not promise.
        """
        if self.group is None:
            return statistics
        parts = [torch.empty_like(statistics) for _ in range(self.ranks)]
        dist.all_gather(parts, statistics.contiguous(), group=self.group)
        return combined(torch.stack(parts))

    def start_sum(self, partial: torch.Tensor) -> dist.Work | None:
        """Begin to add ``partial`` over the ranks, in place; wait for what is returned."""
        if self.group is None or self.ranks == 1:
            return None
        return cast(dist.Work, dist.all_reduce(partial, group=self.group, async_op=True))


def combined(parts: torch.Tensor) -> torch.Tensor:
    """Statistics [3, N] of a vocabulary, from those of its pieces [R, 3, N].

    The log-sum-exp of a union is the log-sum-exp of the log-sum-exps. The target's logit is 0 in
    every piece but its own, and totals add up.
    """
    return torch.stack([torch.logsumexp(parts[:, 0], 0), parts[:, 1].sum(0), parts[:, 2].sum(0)])
