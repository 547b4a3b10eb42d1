"""Pairs of a micro-batch: a document's two halves as segments that do not see each other.

A pair is one document (`vl_data.mix.preferences`): the prompt with the chosen answer, the end of
document, the prompt with the rejected one. For a model they are two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtures.plan import Plan
from trainer.data.batches import IGNORED, MicroBatch
from trainer.data.errors import DataError


@dataclass(frozen=True)
class PairBatch(MicroBatch):
    """A micro-batch of which each document is two segments.

    Attributes
    ----------
    halves : int64 tensor [pairs, 2, 2]
        First token and end of each pair's chosen and rejected half.
    rows : int64 tensor [pairs]
        The place of each pair among those of the plan (`PairRows`).
    counts : int64 tensor [pairs, 2]
        Tokens of each answer: those that carry loss.
    """

    # The micro-batch's own last field has a default, so these must have one too.
    halves: Tensor = field(default_factory=lambda: torch.empty(0, 2, 2, dtype=torch.int64))
    rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    counts: Tensor = field(default_factory=lambda: torch.empty(0, 2, dtype=torch.int64))

    @property
    def pairs(self) -> int:
        """How many there are."""
        return len(self.rows)


class PairRows:
    """The places of a plan's pairs, one after the other: sequence by sequence, as they lie there.

    ``starts``: int64 [sequences + 1], of each sequence its first pair's; they begin at ``first``.
    """

    def __init__(self, plan: Plan, first: int = 0) -> None:
        self.starts = np.full(len(plan) + 1, first, np.int64)
        self.starts[1:] += np.cumsum([len(pieces) for pieces in plan])

    def __len__(self) -> int:
        return int(self.starts[-1] - self.starts[0])


def split_pairs(batch: MicroBatch, rows: PairRows, length: int, eod: int) -> PairBatch:
    """The micro-batch with every document cut behind its inner end.

    Args:
        length: tokens of a packed sequence.
        eod: the id that ends documents.

    Raises:
        DataError: for a document that is no whole pair.
    """
    tokens, labels = batch.tokens.numpy(), batch.labels.numpy().copy()
    edges, numbers = batch.cu_seqlens.tolist(), batch.documents.tolist()
    bounds, documents, starts = [0], [], []
    halves: list[list[tuple[int, int]]] = []
    found: list[int] = []
    sequence, seen = -1, 0
    for n, (first, end) in enumerate(pairwise(edges)):
        if first // length != sequence:
            sequence, seen = first // length, 0
        if numbers[n] < 0:
            bounds.append(end)
            documents.append(numbers[n])
            starts.append(0)
            continue
        ends = np.flatnonzero(tokens[first:end] == eod) + first + 1
        if len(ends) != 2 or ends[1] != end or int(batch.token_starts[n]) != 0:
            raise DataError(
                f"document {numbers[n]}: found {len(ends)} ends of document in its {end - first} "
                "tokens, expected one between the halves of a pair and one behind them; a stage "
                "of preferences draws from sources of format preferences alone"
            )
        cut = int(ends[0])
        labels[cut - 1] = IGNORED
        bounds += [cut, end]
        documents += [numbers[n]] * 2
        starts += [0, cut - first]
        halves.append([(first, cut), (cut, end)])
        found.append(int(rows.starts[batch.first_sequence + sequence]) + seen)
        seen += 1
    counts = [[int((labels[a:b] != IGNORED).sum()) for a, b in pair] for pair in halves]
    return PairBatch(
        **{
            **_same(batch),
            "labels": torch.from_numpy(labels),
            "cu_seqlens": torch.tensor(bounds, dtype=torch.int32),
            "max_seqlen": int(np.diff(bounds).max()),
            "documents": torch.tensor(documents, dtype=torch.int64),
            "token_starts": torch.tensor(starts, dtype=torch.int64),
        },
        halves=torch.tensor(halves, dtype=torch.int64).reshape(-1, 2, 2),
        rows=torch.tensor(found, dtype=torch.int64),
        counts=torch.tensor(counts, dtype=torch.int64).reshape(-1, 2),
    )


def _same(batch: MicroBatch) -> dict[str, Any]:
    return {one.name: getattr(batch, one.name) for one in fields(MicroBatch)}


def split_all(
    batches: Sequence[MicroBatch], rows: PairRows, length: int, eod: int
) -> list[PairBatch]:
    """All micro-batches of a step."""
    return [split_pairs(batch, rows, length, eod) for batch in batches]
