"""What all steps before ``settle`` decided of a partition's documents, by row; and its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.ranks import DROPPED, RANKS, ROWS, SPLITS, VERDICTS
from dataflow.steps.columns import id_array
from dataflow.tables import DISPOSITIONS
from dataflow.tasks import StepContext

EXACT, NEAR, EMPTY = "exact", "near", "empty"
"""Rules of the steps ``dedup`` (the first two) and ``clean``, beside the recipe's own."""


@dataclass(frozen=True)
class Verdicts:
    """Verdicts on n documents; every array has n rows.

    ``rule`` int16: number of the rule that drops the document, -1 for none; ``value`` and
    ``threshold`` float64 belong to it. ``exact`` and ``near`` bool: it duplicates ``survivor``
    (uint8[n, 16], a doc_id), a near one with similarity ``jaccard``. ``clustered`` bool: its
    cluster is ``cluster`` (uint8[n, 16], a content_id). ``split`` uint8.
    """

    rule: np.ndarray
    value: np.ndarray
    threshold: np.ndarray
    exact: np.ndarray
    near: np.ndarray
    jaccard: np.ndarray
    survivor: np.ndarray
    clustered: np.ndarray
    cluster: np.ndarray
    split: np.ndarray

    @property
    def survives(self) -> np.ndarray:
        """bool[n]: neither a rule nor a duplicate speaks against the document."""
        kept: np.ndarray = (self.rule < 0) & ~self.exact & ~self.near
        return kept

    def rows(self, start: int, stop: int) -> Verdicts:
        """The verdicts on some consecutive rows."""
        return Verdicts(*(getattr(self, field.name)[start:stop] for field in fields(self)))


def load_verdicts(context: StepContext) -> Verdicts:
    """Gather the verdicts on the rows of the task's partition from the global steps' arrays."""
    base, rows = context.params["base"], context.params["rows"]
    order = context.input("order")
    rank = ROWS.open(context, order).read("rank", base, base + rows)
    ranked = rank != DROPPED
    mine = rank[ranked]
    ranks = RANKS.open(context, order)
    near = VERDICTS.open(context, context.input("near"))
    decided = context.read_arrays(context.input("decide"), "decisions")

    def spread(values: np.ndarray, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Values of the ranked rows, zeros in the others."""
        out = np.zeros((rows, *shape), values.dtype)
        out[ranked] = values
        return out

    survivor = near.take("survivor", mine)
    exact = ranks.take("exact_survivor", mine) != mine
    gone = survivor != mine
    clustered = near.take("clustered", mine).astype(bool)
    # Only these ids are told: the others stay zero.
    survivor_id = np.zeros((len(mine), 16), np.uint8)
    survivor_id[gone] = ranks.take("doc_id", survivor[gone])
    cluster_id = np.zeros((len(mine), 16), np.uint8)
    first = near.take("cluster", mine[clustered])
    cluster_id[clustered] = ranks.take("content_id", first)
    return Verdicts(
        rule=decided["rule"].to_numpy(),
        value=decided["value"].to_numpy(),
        threshold=decided["threshold"].to_numpy(),
        exact=spread(exact),
        near=spread(~exact & gone),
        jaccard=spread(near.take("jaccard", mine)),
        survivor=spread(survivor_id, (16,)),
        clustered=spread(clustered),
        cluster=spread(cluster_id, (16,)),
        split=spread(SPLITS.open(context, context.input("split")).take("split", mine)),
    )


def dispositions(
    documents: pa.Table,
    verdicts: Verdicts,
    text_bytes: np.ndarray,
    removed_bytes: np.ndarray,
    *,
    rules: Sequence[str],
    near_threshold: float,
) -> pa.Table:
    """The ledger's rows of n documents.

    Parameters
    ----------
    documents : ``doc_id`` and ``source``
    text_bytes, removed_bytes : int64[n]; cleaning that would leave nothing drops the document
    rules : names of the recipe's rules, as ``verdicts.rule`` numbers them
    near_threshold : τ
    """
    n = documents.num_rows
    empty = verdicts.survives & (removed_bytes == text_bytes)
    kept = verdicts.survives & ~empty
    by_rule = verdicts.rule >= 0
    step, rule = np.full(n, None, object), np.full(n, None, object)
    step[by_rule] = "decide"
    rule[by_rule] = np.asarray([*rules, ""], object)[verdicts.rule[by_rule]]
    step[verdicts.exact | verdicts.near] = "dedup"
    rule[verdicts.exact], rule[verdicts.near] = EXACT, NEAR
    step[empty], rule[empty] = "clean", EMPTY
    value = np.where(verdicts.near, verdicts.jaccard, np.where(by_rule, verdicts.value, np.nan))
    threshold = np.where(
        verdicts.near, near_threshold, np.where(by_rule, verdicts.threshold, np.nan)
    )
    gone = np.where(kept, removed_bytes, 0)
    columns: dict[str, Any] = {
        "doc_id": documents["doc_id"],
        "source": documents["source"],
        "kept": kept,
        "step": pa.array(step, pa.string()),
        "rule": pa.array(rule, pa.string()),
        "value": pa.array(value, pa.float64(), from_pandas=True),
        "threshold": pa.array(threshold, pa.float64(), from_pandas=True),
        "cluster": id_array(verdicts.cluster, ~verdicts.clustered),
        "survivor": id_array(verdicts.survivor, ~(verdicts.exact | verdicts.near)),
        "text_bytes": text_bytes,
        "kept_bytes": np.where(kept, text_bytes - gone, 0),
        "removed_bytes": gone,
        "inserted_bytes": np.zeros(n, np.int64),
    }
    return pa.table(columns, schema=DISPOSITIONS.schema)
