"""``near``: candidates compared exactly; the survivors of the verified graph; its clusters."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from dataflow.steps.buckets import open_buckets
from dataflow.tasks import Step, StepContext
from dedup import ShingleSets, select_survivors


def run(context: StepContext) -> dict[str, Any]:
    """Write the verdict on every rank.

    ``survivor`` uint32: the kept rank that a removed document duplicates, itself for a kept one.
    ``jaccard`` float64: the verified similarity of a near duplicate and its survivor, else NaN.
    ``cluster`` uint32: the first rank of its cluster; ``clustered`` bool: there are others in it.
    Exact copies follow their first copy.
    """
    order = context.input("order")
    n = order.stats["eligible"]
    exact = context.read_arrays(order, "ranks")["exact_survivor"].to_numpy()
    survivor = np.arange(n, dtype=np.uint32)
    jaccard = np.full(n, np.nan)
    cluster = np.arange(n, dtype=np.uint32)
    stats: dict[str, Any] = {"near_removed": 0}
    if context.params["enabled"]:
        candidates = context.read_arrays(context.input("candidates"), "candidates")
        sets = ShingleSets.open(
            [context.local_path(record, "sets") for record in context.inputs("shingles")]
        )
        found = select_survivors(
            open_buckets(context),
            candidates["rank"].to_numpy(),
            n,
            sets,
            context.params["threshold"],
            context.scratch,
            context.local["memory_bytes"],
        )
        survivor[found.removed] = found.survivor
        jaccard[found.removed] = found.jaccard_num / found.jaccard_den
        cluster[found.members] = found.cluster
        stats = {"near_removed": len(found.removed), **asdict(found.stats)}
    # Exact copies: the verdict of the first copy, text for text the same.
    survivor, jaccard, cluster = survivor[exact], jaccard[exact], cluster[exact]
    sizes = np.bincount(cluster, minlength=n)
    context.write_arrays(
        "verdicts",
        {
            "survivor": survivor,
            "jaccard": jaccard,
            "cluster": cluster,
            "clustered": sizes[cluster] > 1,
        },
    )
    return {**stats, "clusters": int((sizes > 1).sum())}


STEP = Step("near", run)
