"""Held-out pairs as packed sequences, read as a plan's are. They train nothing."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from dataflow.run import Run
from mixtures.documents import HELD_OUT, walk
from mixtures.plan import Piece, Plan

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are held out, in the order of their content, and where all shards begin.

    Attributes
    ----------
    documents, shards, offsets, tokens, lengths : int64 [pairs]
        As ``Plan`` has them.
    starts : int64 [shards + 1]
        Each shard's first document.
    """

    documents: I64
    shards: I64
    offsets: I64
    tokens: I64
    lengths: I64
    starts: I64

    def __len__(self) -> int:
        return len(self.documents)


def choose_pairs(run: Run, plan: Plan, most: int) -> HeldOut:
    """The first ``most`` held-out documents of the plan's sources that fit into a sequence.

    They come in the order of their content ids, which are hashes: the same in every build.
    """
    found: list[tuple[bytes, tuple[int, ...]]] = []
    starts = [0]
    columns = ["content_id", "token_offset", "tokens", "source", "split", "images"]
    for shard in walk(run, columns):
        starts.append(shard.first + len(shard))
        rows = np.flatnonzero(pc.equal(shard.table["split"], HELD_OUT).to_numpy())
        features = shard.expanded(plan.spec.tiling)
        at, counts = shard.column("token_offset"), shard.tokens
        for row in rows.tolist():
            source = shard.table["source"][row].as_py()
            drawn = any(component.draws_from(source) for component in plan.spec.components)
            if not drawn or features[row] > plan.length:
                continue
            place = (shard.first + row, shard.shard, at[row], counts[row], features[row])
            found.append((shard.table["content_id"][row].as_py(), tuple(map(int, place))))
    found.sort()
    places = np.array([place for _, place in found[:most]], np.int64).reshape(-1, 5)
    documents, shards, offsets, tokens, lengths = places.T
    return HeldOut(documents, shards, offsets, tokens, lengths, np.array(starts, np.int64))


class HeldOutSequences(Plan):
    """Held-out pairs laid into sequences of a plan's length, one after the other as they fit.

    What ``trainer.data.batches.Batches`` asks of a plan, and no file. Sequences that fill up a
    multiple of ``whole`` are empty.
    """

    def __init__(self, plan: Plan, pairs: HeldOut, whole: int) -> None:
        self.folder, self.length = plan.folder, plan.length
        self.corpus, self.tokenizer = plan.corpus, plan.tokenizer
        self.hash = f"held out of {plan.hash}"
        self.spec: Any = SimpleNamespace(tiling=plan.spec.tiling)
        self.components = ()
        self.fill = 1.0
        self._pairs = pairs
        self._order = np.argsort(pairs.documents)
        self._sequences = _laid(pairs, plan.length)
        self._sequences += [[] for _ in range(-len(self._sequences) % whole)]

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, i: int) -> list[Piece]:
        """The pairs of a sequence."""
        if not 0 <= i < len(self):
            raise IndexError(f"found sequence {i}, expected 0 to {len(self) - 1}")
        return self._sequences[i]

    @property
    def documents(self) -> int:
        """How many documents the corpus has."""
        return int(self._pairs.starts[-1])

    def tokens(self, documents: npt.ArrayLike) -> I64:
        """Of held-out pairs, as they are stored."""
        return np.asarray(self._pairs.tokens[self._places(documents)])

    def lengths(self, documents: npt.ArrayLike) -> I64:
        """Of held-out pairs, as a model reads them."""
        return np.asarray(self._pairs.lengths[self._places(documents)])

    def first_document(self, shard: int) -> int:
        """The number of the first document of a shard."""
        return int(self._pairs.starts[shard])

    def places(self, documents: npt.ArrayLike) -> tuple[I64, I64]:
        """Shard and offset of held-out pairs."""
        where = self._places(documents)
        return np.asarray(self._pairs.shards[where]), np.asarray(self._pairs.offsets[where])

    def _places(self, documents: npt.ArrayLike) -> I64:
        wanted = np.asarray(documents, np.int64)
        at = np.searchsorted(self._pairs.documents, wanted, sorter=self._order)
        return np.asarray(self._order[at], np.int64)


def _laid(pairs: HeldOut, length: int) -> list[list[Piece]]:
    sequences: list[list[Piece]] = []
    room = 0
    for document, size in zip(pairs.documents.tolist(), pairs.lengths.tolist(), strict=True):
        if size > room:
            sequences.append([])
            room = length
        sequences[-1].append(Piece(document, 0, size))
        room -= size
    return sequences
