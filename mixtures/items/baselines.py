"""Answers that read no query, or read it only as a bag of words: what items give away.

On sound items those that read no query are at chance. ``overlap`` reads the query, and what it gets
above chance is what repeating words is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtures.items.item import Item

SURE = 3.0
"""Standard errors above chance from which on a baseline is said to be above it."""


@dataclass(frozen=True)
class Baseline:
    """Accuracy of a baseline; of equal choices each counts its part. ``error``: that of guessing,
    so that ``(accuracy - chance) / error`` is how surely it is above chance."""

    name: str
    accuracy: float
    chance: float
    error: float
    reads_query: bool

    @property
    def above(self) -> bool:
        """Whether it is surely above chance."""
        return self.accuracy > self.chance + SURE * self.error

    def as_json(self) -> dict[str, Any]:
        """The fields, and whether it is above chance."""
        return {**self.__dict__, "above_chance": self.above}


def baselines(items: Sequence[Item]) -> list[Baseline]:
    """Always the longest, the shortest, the one of the commonest bytes; and by shared words."""
    counts = np.ones(256)
    for item in items:
        for choice in item.choices:
            counts += np.bincount(np.frombuffer(choice.encode(), np.uint8), minlength=256)
    nats = np.log(counts / counts.sum())

    def common(item: Item, n: int) -> float:
        return float(nats[np.frombuffer(item.choices[n].encode(), np.uint8)].mean())

    def length(item: Item, n: int) -> float:
        return len(item.choices[n].encode())

    def overlap(item: Item, n: int) -> float:
        query = item.queries[n] if item.queries else item.query
        words = set(item.choices[n].lower().split())
        return len(words & set(query.lower().split())) / max(1, len(words))

    return [
        _baseline("longest", items, length),
        _baseline("shortest", items, lambda item, n: -length(item, n)),
        _baseline("commonest bytes", items, common),
        _baseline("overlap", items, overlap, reads_query=True),
    ]


def _baseline(
    name: str,
    items: Sequence[Item],
    score: Callable[[Item, int], float],
    reads_query: bool = False,
) -> Baseline:
    right = np.zeros(len(items))
    chance = np.zeros(len(items))
    for i, item in enumerate(items):
        scores = [score(item, n) for n in range(len(item.choices))]
        best = [n for n, value in enumerate(scores) if value == max(scores)]
        right[i] = (item.answer in best) / len(best)
        chance[i] = 1 / len(item.choices)
    error = float(np.sqrt((chance * (1 - chance)).sum()) / len(items))
    return Baseline(name, float(right.mean()), float(chance.mean()), error, reads_query)
