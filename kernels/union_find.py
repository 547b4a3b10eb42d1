"""Disjoint sets whose root is their smallest member.

Tarjan's union-find with path halving; linking the larger root under the smaller one costs balance
but makes the result independent of the order of the edges, with no relabelling pass over sizes.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]


@njit(cache=True, nogil=True)
def find(parent: I64, node: int) -> int:
    """Root of ``node`` in ``parent`` int64[n]; halves the path it walks."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def unite(parent: I64, left: I64, right: I64) -> None:
    """Join the ends of every edge ``(left[i], right[i])``, both int64[e] of values below n."""
    for i in range(left.shape[0]):
        u = find(parent, left[i])
        v = find(parent, right[i])
        if u < v:
            parent[v] = u
        elif v < u:
            parent[u] = v


@njit(cache=True, nogil=True)
def flatten(parent: I64) -> None:
    """Point every node straight at its root."""
    # A parent is never larger than its child, so one pass in order suffices.
    for node in range(parent.shape[0]):
        parent[node] = parent[parent[node]]
