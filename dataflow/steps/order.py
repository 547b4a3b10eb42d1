"""``order``: the survivor order of all documents that the rules keep, and the exact duplicates.

The order is total and comes from content alone: the recipe's survivor terms, then source priority,
``content_id`` and ``doc_id``. From here on a document is its *rank*, so that "which of two is to
survive" is a comparison of integers. Rank 0 survives everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dataflow.recipe.expressions import Term, parse_term, sort_key
from dataflow.steps.columns import id_array, id_bytes, id_words
from dataflow.steps.signals import join_signals
from dataflow.tasks import Step, StepContext
from quality.signals import SIGNALS

DROPPED = np.uint32(0xFFFFFFFF)
"""The rank of a document that takes no part in deduplication: a rule dropped it."""

_FIXED = ["doc_id", "content_id"]


def _partition(context: StepContext, position: int, terms: list[Term]) -> dict[str, Any]:
    """Ids, text lengths and survivor terms of the rows of one partition that the rules keep."""
    decided = context.read_arrays(context.inputs("decide")[position], "decisions")
    eligible = decided["rule"].to_numpy() < 0
    ids = context.read_table(context.inputs("documents")[position], "documents", _FIXED)
    names = sorted({name for term in terms for name in term.columns})
    columns = join_signals(context, names, position)
    return {
        "eligible": eligible,
        "doc": id_bytes(ids["doc_id"])[eligible],
        "content": id_bytes(ids["content_id"])[eligible],
        "bytes": decided["text_bytes"].to_numpy()[eligible],
        "terms": [sort_key(term, columns)[eligible] for term in terms],
    }


def run(context: StepContext) -> dict[str, Any]:
    """Write two arrays: by row (the rank of each row) and by rank (ids, bytes, exact survivor)."""
    types = {signal.name: signal.type for signal in SIGNALS.values()}
    terms = [parse_term(term, types) for term in context.params["survivor"]]
    priorities: list[int] = context.params["priorities"]
    parts = [_partition(context, i, terms) for i in range(len(context.inputs("documents")))]
    eligible = np.concatenate([p["eligible"] for p in parts])
    doc = np.concatenate([p["doc"] for p in parts])
    content = np.concatenate([p["content"] for p in parts])
    length = np.concatenate([p["bytes"] for p in parts])
    priority = np.repeat(
        np.asarray(priorities, np.int32), [int(p["eligible"].sum()) for p in parts]
    )
    term_columns = [np.concatenate([p["terms"][t] for p in parts]) for t in range(len(terms))]
    del parts

    content_high, content_low = id_words(id_array(content))
    doc_high, doc_low = id_words(id_array(doc))
    # lexsort takes its last key first.
    keys = [doc_low, doc_high, content_low, content_high, priority, *reversed(term_columns)]
    by_rank = np.lexsort(keys).astype(np.uint32)
    del keys, doc_high, doc_low
    rank = np.empty(len(by_rank), np.uint32)
    rank[by_rank] = np.arange(len(by_rank), dtype=np.uint32)
    if context.params["exact"]:
        exact = _exact_survivors(content_high[by_rank], content_low[by_rank])
    else:
        exact = np.arange(len(by_rank), dtype=np.uint32)

    rows = np.full(len(eligible), DROPPED)
    rows[eligible] = rank
    context.write_arrays("rows", {"rank": rows})
    context.write_arrays(
        "ranks",
        {
            "doc_id": id_array(doc[by_rank]),
            "content_id": id_array(content[by_rank]),
            "text_bytes": length[by_rank],
            "exact_survivor": exact,
        },
    )
    return {
        "eligible": len(by_rank),
        "exact_removed": int((exact != np.arange(len(exact), dtype=np.uint32)).sum()),
    }


def _exact_survivors(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """For each rank, the smallest rank with the same 128-bit content."""
    # A stable sort keeps ranks ascending among equals: a group begins with its survivor.
    order = np.lexsort([low, high])
    fresh = np.ones(len(order), bool)
    fresh[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    first = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    survivors = np.empty(len(order), np.uint32)
    survivors[order] = order[first]
    return survivors


STEP = Step("order", run)
