"""Which rank holds which tokens, and whose states reach whom. Integers only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """One rank's tokens among all, and which ranks' states reach it or are reached by its own."""

    tokens: int
    """Tokens on this rank."""
    boundaries: tuple[int, ...]
    """Starts of sequences strictly inside this rank's tokens, counted from its first, rising."""
    before: tuple[tuple[int, int], ...]
    """``(rank, tokens in between)`` of the earlier ranks whose states this rank starts from."""
    after: tuple[tuple[int, int], ...]
    """``(rank, tokens in between)`` of the later ranks that start from this rank's state."""
    exchange: bool
    """Whether a state crosses between any two ranks of the group."""

    @property
    def head(self) -> int:
        """Tokens before the first boundary: those that see the incoming state."""
        return self.boundaries[0] if self.boundaries else self.tokens

    @property
    def tail(self) -> int:
        """Tokens after the last boundary: those that the outgoing state holds."""
        return self.tokens - (self.boundaries[-1] if self.boundaries else 0)


def share(lengths: Sequence[int], rank: int, cu_seqlens: Sequence[int] | None = None) -> Share:
    """The share of ``rank``.

    Args:
        lengths: tokens on each rank, ``>= 0``.
        rank: 0-based.
        cu_seqlens: boundaries of the sequences over all ranks' tokens, from 0 to their sum, never
            falling; one sequence when left out.

    Raises:
        ValueError: what is given does not fit.
    """
    total = sum(lengths)
    if not 0 <= rank < len(lengths) or min(lengths) < 0:
        raise ValueError(f"found rank {rank} and lengths {list(lengths)}; expected one per rank")
    edges = [0, total] if cu_seqlens is None else list(cu_seqlens)
    if len(edges) < 2 or edges[0] != 0 or edges[-1] != total or edges != sorted(edges):
        raise ValueError(
            f"found boundaries {edges[:3]} to {edges[-3:]}; expected them from 0 to {total}, the "
            "tokens of all ranks, and never falling"
        )
    starts = [sum(lengths[:r]) for r in range(len(lengths))]

    def reach(r: int, ranks: range) -> Iterator[tuple[int, int]]:
        """Ranks with tokens of the same sequence as ``r``'s edge on that side."""
        for other in ranks:
            if lengths[other] and lengths[r]:
                early, late = min(r, other), max(r, other)
                gap = starts[early] + lengths[early], starts[late]
                boundary = bisect_left(edges, gap[0])
                if boundary < len(edges) and edges[boundary] <= gap[1]:
                    return
                yield other, gap[1] - gap[0]

    world = len(lengths)
    start, end = starts[rank], starts[rank] + lengths[rank]
    return Share(
        tokens=lengths[rank],
        boundaries=tuple(sorted({edge - start for edge in edges if start < edge < end})),
        before=tuple(reach(rank, range(rank - 1, -1, -1))),
        after=tuple(reach(rank, range(rank + 1, world))),
        exchange=any(True for r in range(1, world) for _ in reach(r, range(r - 1, -1, -1))),
    )
