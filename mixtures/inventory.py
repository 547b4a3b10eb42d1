"""What a corpus has to draw from, by source and length, counted in one pass over its index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow.run import Run
from mixtures.documents import walk
from mixtures.lengths import bounds
from mixtures.spec import Component

SCALES = 16
"""L1 is also looked at divided by 2, 4, …, 2**SCALES."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Inventory:
    """Train documents and their tokens: rows are ``sources``, columns are stretches of lengths.

    ``edges`` are the lengths at which a stretch begins, all those at which a class does for L1 and
    for its halves; so each class of each scale is a whole number of stretches.
    """

    sources: tuple[str, ...]
    edges: Counts
    documents: Counts
    tokens: Counts
    longest: int
    held_out: int

    def of(self, component: Component, l1: int) -> tuple[int, int]:
        """Documents and tokens of a component."""
        low, high = bounds(component.length, l1)
        first = int(np.searchsorted(self.edges, low))
        last = len(self.edges) if high is None else int(np.searchsorted(self.edges, high))
        rows = [i for i, source in enumerate(self.sources) if component.draws_from(source)]
        documents, tokens = (a[rows, first:last].sum() for a in (self.documents, self.tokens))
        return int(documents), int(tokens)


def take_inventory(run: Run, l1: int) -> Inventory:
    """Count the train documents of a run. Memory: the index of one shard."""
    starts = {0}
    for scale in range(SCALES + 1):
        for name in ("short", "medium", "long"):
            starts |= {bound for bound in bounds(name, l1 >> scale) if bound is not None}
    edges = np.array(sorted(starts), np.int64)
    by_source: dict[str, tuple[Counts, Counts]] = {}
    longest = held_out = 0
    for shard in walk(run, ["source", "tokens", "split"]):
        trains = shard.trains
        held_out += int((~trains).sum())
        tokens = shard.tokens[trains]
        longest = max(longest, int(tokens.max(initial=0)))
        stretch = np.searchsorted(edges, tokens, side="right") - 1
        encoded = shard.table["source"].combine_chunks().dictionary_encode()
        code = encoded.indices.to_numpy()[trains]
        for number, source in enumerate(encoded.dictionary.to_pylist()):
            documents, total = by_source.setdefault(
                source, (np.zeros(len(edges), np.int64), np.zeros(len(edges), np.int64))
            )
            mine = code == number
            np.add.at(documents, stretch[mine], 1)
            np.add.at(total, stretch[mine], tokens[mine])
    sources = tuple(sorted(s for s, (documents, _) in by_source.items() if documents.any()))
    shape = (len(sources), len(edges))
    return Inventory(
        sources,
        edges,
        np.array([by_source[s][0] for s in sources], np.int64).reshape(shape),
        np.array([by_source[s][1] for s in sources], np.int64).reshape(shape),
        longest,
        held_out,
    )
