"""Connected components of verified pairs: they name clusters, they remove nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.union_find import flatten, unite

U32 = NDArray[np.uint32]


def connected_components(left: U32, right: U32) -> tuple[U32, U32]:
    """Members of all components with an edge, ascending, and each one's smallest member.

    ``left`` and ``right``, uint32[e], are the ends of the edges. Memory is in proportion to the
    edges, not to the largest node.
    """
    nodes, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    parent = np.arange(len(nodes), dtype=np.int64)
    places = places.astype(np.int64)
    unite(parent, places[: len(left)], places[len(left) :])
    flatten(parent)
    return nodes.astype(np.uint32), nodes[parent].astype(np.uint32)
