"""What the global steps decide of all documents, each array declared once: by row, or by rank."""

from __future__ import annotations

import numpy as np

from dataflow.arrays import ID, ColumnSet

DROPPED = np.uint32(0xFFFFFFFF)
"""The rank of a document that takes no part in deduplication: a rule dropped it."""

ROWS = ColumnSet("rows", {"rank": np.dtype(np.uint32), "first": np.dtype(np.uint8)})
"""By row, all partitions one after the other: its rank, and whether no document of smaller rank
has its content."""

RANKS = ColumnSet(
    "ranks",
    {
        "doc_id": ID,
        "content_id": ID,
        "text_bytes": np.dtype(np.int64),
        "exact_survivor": np.dtype(np.uint32),
    },
)
"""By rank. ``exact_survivor``: the smallest rank with the same content, itself where it is one."""

VERDICTS = ColumnSet(
    "verdicts",
    {
        "survivor": np.dtype(np.uint32),
        "jaccard": np.dtype(np.float64),
        "cluster": np.dtype(np.uint32),
        "clustered": np.dtype(np.uint8),
    },
)
"""By rank. ``survivor``: the kept rank that a removed document duplicates, itself for a kept one.
``jaccard``: the verified similarity of a near duplicate and its survivor, else NaN. ``cluster``:
the first rank of its cluster; ``clustered``: there are others in it. Exact copies follow their
first copy."""

SPLITS = ColumnSet("splits", {"split": np.dtype(np.uint8)})
"""By rank: the code of its side."""

IMAGES = ColumnSet(
    "images", {"digest": np.dtype((np.uint8, 32)), "representative": np.dtype(np.uint32)}
)
"""The distinct images of all documents, by digest. ``representative``: the row of the image that
stands for it and for all that look like it, its own where it stands for itself."""

SEQUENCES = ColumnSet("sequences", {"sequence": np.dtype(np.uint64)})
"""By row of the partitions that have images, one partition after the other: a hash of what its
images show, in their order; 0 for a document without any."""
