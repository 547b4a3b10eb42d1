"""The few documents that a page can show, chosen so that no order of reading matters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PICK = np.dtype(
    [
        ("distance", np.float64),
        ("hi", np.uint64),
        ("lo", np.uint64),
        ("content_hi", np.uint64),
        ("content_lo", np.uint64),
        ("value", np.float64),
        ("others", np.int32),
        ("partition", np.int32),
        ("row", np.int64),
    ]
)
"""One picked document: its place, and what it was picked by. ``others``: further rules it fails."""


@dataclass(frozen=True)
class Rows:
    """The documents of one batch: where they lie and who they are (``uint64[n, 2]`` ids)."""

    partition: int
    first_row: int
    doc_ids: NDArray[np.uint64]
    content_ids: NDArray[np.uint64]


class Pool:
    """The ``limit`` documents of least (distance, doc_id) among all that were offered."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.picks = np.zeros(0, PICK)

    def offer(
        self,
        rows: Rows,
        chosen: NDArray[np.int64],
        distance: NDArray[np.float64],
        value: NDArray[np.float64] | None = None,
        others: NDArray[np.int64] | None = None,
    ) -> None:
        """Offer the rows ``chosen`` of a batch; the other arrays run along ``chosen``."""
        keep = np.arange(len(chosen))
        if len(self.picks) >= self.limit:
            keep = keep[distance <= self.picks["distance"][-1]]
        if len(keep) > self.limit:
            # All that tie with the last one stay: the id decides between them, not the order.
            last = np.partition(distance[keep], self.limit - 1)[self.limit - 1]
            keep = keep[distance[keep] <= last]
        if not len(keep):
            return
        picks = np.zeros(len(keep), PICK)
        where = chosen[keep]
        picks["distance"] = distance[keep]
        picks["hi"], picks["lo"] = rows.doc_ids[where].T
        picks["content_hi"], picks["content_lo"] = rows.content_ids[where].T
        picks["value"] = np.nan if value is None else value[keep]
        picks["others"] = 0 if others is None else others[keep]
        picks["partition"] = rows.partition
        picks["row"] = rows.first_row + where
        merged = np.concatenate([self.picks, picks])
        order = np.lexsort((merged["lo"], merged["hi"], merged["distance"]))
        self.picks = merged[order[: self.limit]]

    def best(self, count: int) -> NDArray[np.void]:
        """The first ``count`` documents of different content."""
        contents = np.stack([self.picks["content_hi"], self.picks["content_lo"]], axis=1)
        if not len(contents):
            return self.picks
        _, first = np.unique(contents, axis=0, return_index=True)
        return self.picks[np.sort(first)[:count]]
