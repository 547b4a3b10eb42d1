"""``near``: candidates compared exactly; the survivors of the verified graph; its clusters."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataflow.arrays import Columns, windows
from dataflow.ranks import RANKS, VERDICTS
from dataflow.steps.buckets import open_buckets
from dataflow.tasks import Step, StepContext
from dedup import NearDuplicates, ShingleSets, select_survivors

U32 = NDArray[np.uint32]
Bools = NDArray[np.bool_]
Places = NDArray[np.int64]


def run(context: StepContext) -> dict[str, Any]:
    """Write ``VERDICTS``. Memory: that of ``select_survivors``, and some 30 bytes a duplicate."""
    order = context.input("order")
    n = order.stats["eligible"]
    ranks = RANKS.open(context, order)
    found = _find(context, n) if context.params["enabled"] else None
    stats: dict[str, Any] = {"near_removed": 0}
    if found is not None:
        stats = {"near_removed": len(found.removed), **asdict(found.stats)}
    shared = _shared_clusters(ranks, n, found)
    with VERDICTS.create(context) as out:
        for start, stop in windows(n):
            # Exact copies: the verdict of the first copy, text for text the same.
            exact = ranks.read("exact_survivor", start, stop)
            cluster = _cluster(exact, found)
            survivor, jaccard = exact.copy(), np.full(len(exact), np.nan)
            if found is not None:
                gone, places = _search(found.removed, exact)
                survivor[gone] = found.survivor[places]
                jaccard[gone] = found.jaccard_num[places] / found.jaccard_den[places]
            clustered, _ = _search(shared, cluster)
            out.add(survivor=survivor, jaccard=jaccard, cluster=cluster, clustered=clustered)
    return {**stats, "clusters": len(shared)}


def _find(context: StepContext, n: int) -> NearDuplicates:
    candidates = context.read_arrays(context.input("candidates"), "candidates")
    sets = ShingleSets.open(
        [context.local_path(record, "sets") for record in context.inputs("shingles")]
    )
    return select_survivors(
        open_buckets(context),
        candidates["rank"].to_numpy(),
        n,
        sets,
        context.params["threshold"],
        context.scratch,
        context.local["memory_bytes"],
    )


def _search(ordered: U32, values: U32) -> tuple[Bools, Places]:
    """Which of ``values`` are among ``ordered`` (ascending), and the places of those."""
    places = np.searchsorted(ordered, values)
    found = places < len(ordered)
    found[found] = ordered[places[found]] == values[found]
    return found, places[found]


def _cluster(exact: U32, found: NearDuplicates | None) -> U32:
    """The cluster of each document, given its first exact copy."""
    cluster = exact.copy()
    if found is not None:
        joined, places = _search(found.members, exact)
        cluster[joined] = found.cluster[places]
    return cluster


def _shared_clusters(ranks: Columns, n: int, found: NearDuplicates | None) -> U32:
    """Clusters of two or more, ascending: those of near duplicates and those of exact copies."""
    shared = [np.empty(0, np.uint32) if found is None else np.unique(found.cluster)]
    for start, stop in windows(n):
        exact = ranks.read("exact_survivor", start, stop)
        copies = exact[exact != np.arange(start, stop, dtype=np.uint32)]
        shared.append(np.unique(_cluster(copies, found)))
    return np.unique(np.concatenate(shared))


STEP = Step("near", run)
