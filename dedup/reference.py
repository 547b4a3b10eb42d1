"""The definition, by brute force: sequential greedy selection over all pairs that share a band."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from itertools import combinations


def shared_band_pairs(keys: Sequence[Mapping[int, int]]) -> set[tuple[int, int]]:
    """Pairs (smaller, larger rank) with equal keys in a band; ``keys[band]`` maps rank to key."""
    pairs: set[tuple[int, int]] = set()
    for band in keys:
        buckets: dict[int, list[int]] = {}
        for rank, key in band.items():
            buckets.setdefault(key, []).append(rank)
        for members in buckets.values():
            pairs.update(combinations(sorted(members), 2))
    return pairs


def greedy_survivors(
    n: int,
    pairs: Collection[tuple[int, int]],
    sets: Sequence[Collection[int]],
    threshold: Fraction,
) -> dict[int, tuple[int, int, int]]:
    """Removed ranks, each with its survivor and the sizes of intersection and union.

    Rank by rank: a document goes if a kept one of smaller rank is its neighbour, and its survivor
    is the smallest such.
    """
    removed: dict[int, tuple[int, int, int]] = {}
    for rank in range(n):
        for other in range(rank):
            if other in removed or (other, rank) not in pairs:
                continue
            left, right = set(sets[other]), set(sets[rank])
            overlap, union = len(left & right), len(left | right)
            if union and Fraction(overlap, union) >= threshold:
                removed[rank] = (other, overlap, union)
                break
    return removed
