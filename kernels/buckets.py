"""Loops over banded MinHash buckets: groups of equal keys, and the table document -> buckets."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


@njit(cache=True, nogil=True)
def group_equal_keys(keys: U64, ranks: U32, sizes: U32) -> tuple[int, int, np.int64]:
    """Keep the groups of two or more equal keys, each in rank order.

    ``keys`` uint64[n] ascending; ``ranks`` uint32[n] beside it, in any order among equals, is
    overwritten at its front with the members of the kept groups; ``sizes`` uint32 of at least
    n // 2 gets their sizes. Returns (groups, members, repeated): ``repeated`` is a rank that one
    group holds twice, or -1.
    """
    n = keys.shape[0]
    groups = 0
    members = 0
    repeated = np.int64(-1)
    start = 0
    while start < n:
        end = start + 1
        while end < n and keys[end] == keys[start]:
            end += 1
        size = end - start
        if size > 1:
            group = np.sort(ranks[start:end]) if size > 32 else ranks[start:end]
            if size <= 32:
                for i in range(1, size):
                    rank = group[i]
                    j = i - 1
                    while j >= 0 and group[j] > rank:
                        group[j + 1] = group[j]
                        j -= 1
                    group[j + 1] = rank
            for i in range(size):
                if i > 0 and group[i] == group[i - 1]:
                    repeated = np.int64(group[i])
                ranks[members + i] = group[i]
            sizes[groups] = size
            groups += 1
            members += size
        start = end
    return groups, members, repeated


@njit(cache=True, nogil=True, boundscheck=False)
def count_memberships(members: U32, position: U32, degrees: I64) -> None:
    """Add 1 to ``degrees[position[rank] + 1]`` for every member; ready to be summed into starts."""
    for i in range(members.shape[0]):
        degrees[np.int64(position[members[i]]) + 1] += 1


@njit(cache=True, nogil=True, boundscheck=False)
def fill_memberships(
    members: U32,
    sizes: U32,
    first_bucket: int,
    position: U32,
    cursor: I64,
    doc_buckets: U32,
    bucket_starts: I64,
) -> None:
    """Append buckets ``first_bucket, ...`` to the rows of their members.

    ``cursor`` int64[documents] is the next free place of each row of ``doc_buckets`` and moves on;
    ``bucket_starts`` gets the end of each bucket at its index + 1.
    """
    at = 0
    for k in range(sizes.shape[0]):
        g = first_bucket + k
        for _ in range(sizes[k]):
            u = position[members[at]]
            doc_buckets[cursor[u]] = g
            cursor[u] += 1
            at += 1
        bucket_starts[g + 1] = bucket_starts[g] + np.int64(sizes[k])
