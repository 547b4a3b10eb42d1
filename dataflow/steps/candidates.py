"""``candidates``: the documents that share a bucket with another; only they are read again."""

from __future__ import annotations

from typing import Any

import numpy as np

from dataflow.steps.buckets import open_buckets
from dataflow.tasks import Step, StepContext
from dedup import candidate_ranks


def run(context: StepContext) -> dict[str, Any]:
    """Write the candidates' ranks, ascending."""
    ranks = context.input("order").stats["eligible"]
    candidates = candidate_ranks(open_buckets(context), ranks)
    context.write_arrays("candidates", {"rank": candidates.astype(np.uint32)})
    return {"candidates": len(candidates)}


STEP = Step("candidates", run)
