"""What a corpus has to draw from, by source and length, counted in one pass over its index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow.run import Run
from mixtures.documents import walk
from mixtures.lengths import bounds
from mixtures.spec import Component, PlanSpec

SCALES = 16
"""L1 is also looked at divided by 2, 4, …, 2**SCALES."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Inventory:
    """Train documents and their tokens: rows are ``sources``, columns are stretches of lengths.

    ``edges`` are the lengths at which a stretch begins, all those at which a class does for L1 and
    for its halves; so each class of each scale is a whole number of stretches. ``left_out`` and
    ``left_out_tokens`` are of documents that a plan which packs whole does not cut (those with
    images, or all) and that are longer than a sequence: the others do not count them.
    """

    sources: tuple[str, ...]
    edges: Counts
    documents: Counts
    tokens: Counts
    left_out: Counts
    left_out_tokens: Counts
    longest: int
    held_out: int

    def of(self, component: Component, l1: int) -> tuple[int, int]:
        """Documents and tokens of a component."""
        return self._of(component, l1, self.documents, self.tokens)

    def left_out_of(self, component: Component, l1: int) -> tuple[int, int]:
        """Documents and tokens that would be a component's and are left out."""
        return self._of(component, l1, self.left_out, self.left_out_tokens)

    def _of(self, component: Component, l1: int, *counts: Counts) -> tuple[int, int]:
        low, high = bounds(component.length, l1)
        first = int(np.searchsorted(self.edges, low))
        last = len(self.edges) if high is None else int(np.searchsorted(self.edges, high))
        rows = [i for i, source in enumerate(self.sources) if component.draws_from(source)]
        documents, tokens = (a[rows, first:last].sum() for a in counts)
        return int(documents), int(tokens)


def take_inventory(run: Run, l1: int, spec: PlanSpec | None = None) -> Inventory:
    """Count the train documents of a run. Memory: the index of one shard.

    Parameters
    ----------
    l1 : to which the length classes are relative
    spec : of the plan that is to be compiled: what ``tiling`` it counts by, and whether it packs
        whole; None: tokens as they are in the shards
    """
    starts = {0}
    for scale in range(SCALES + 1):
        for name in ("short", "medium", "long"):
            starts |= {bound for bound in bounds(name, l1 >> scale) if bound is not None}
    edges = np.array(sorted(starts), np.int64)
    by_source: dict[str, Counts] = {}
    longest = held_out = 0
    whole = spec is not None and spec.packing == "whole"
    for shard in walk(run, ["source", "tokens", "split", *(["images"] if whole else [])]):
        trains = shard.trains
        held_out += int((~trains).sum())
        tokens = shard.expanded(None if spec is None else spec.tiling)[trains]
        longest = max(longest, int(tokens.max(initial=0)))
        out = np.zeros(len(tokens), bool)
        if spec is not None and whole:
            kept_whole = (shard.images[trains] > 0) | (spec.longer == "leave_out")
            out = kept_whole & (tokens > spec.length)
        stretch = np.searchsorted(edges, tokens, side="right") - 1
        encoded = shard.table["source"].combine_chunks().dictionary_encode()
        code = encoded.indices.to_numpy()[trains]
        for number, source in enumerate(encoded.dictionary.to_pylist()):
            counts = by_source.setdefault(source, np.zeros((4, len(edges)), np.int64))
            for row, mine in ((0, (code == number) & ~out), (2, (code == number) & out)):
                np.add.at(counts[row], stretch[mine], 1)
                np.add.at(counts[row + 1], stretch[mine], tokens[mine])
    sources = tuple(sorted(s for s, counts in by_source.items() if counts[[0, 2]].any()))
    found = np.array([by_source[s] for s in sources], np.int64).reshape(-1, 4, len(edges))
    documents, tokens, left_out, left_out_tokens = np.moveaxis(found, 1, 0)
    return Inventory(
        sources, edges, documents, tokens, left_out, left_out_tokens, longest, held_out
    )
