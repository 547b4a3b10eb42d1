"""Roots are the smallest members, whatever the order of the edges."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.union_find import flatten, unite

EDGES = st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40)


def reach(start: int, edges: list[tuple[int, int]]) -> set[int]:
    seen, todo = {start}, [start]
    while todo:
        node = todo.pop()
        for u, v in edges:
            for end in ((v,) if u == node else ()) + ((u,) if v == node else ()):
                if end not in seen:
                    seen.add(end)
                    todo.append(end)
    return seen


@settings(deadline=None)
@given(EDGES)
def test_every_node_points_at_the_smallest_it_reaches(edges: list[tuple[int, int]]) -> None:
    parent = np.arange(30, dtype=np.int64)
    ends = np.array(edges, np.int64).reshape(-1, 2)
    unite(parent, ends[:, 0].copy(), ends[:, 1].copy())
    flatten(parent)
    assert parent.tolist() == [min(reach(node, edges)) for node in range(30)]
