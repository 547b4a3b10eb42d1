"""Bootstrap intervals over runs and items at once.

Runs and items are drawn again independently, and a score counts as often as its run and its item
were drawn, together (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 1, 2007, who
shows it to be on the safe side where scores vary beyond their run and item). Means of few things
vary too little when drawn again; the quantiles are moved out to where Student's t would have them
(the expanded percentile interval: Hesterberg, The American Statistician 69, 2015). No drawing goes
beyond the runs there are: of four pairs with one value each the interval ends at the least and the
greatest and holds the truth 87.5 % of the time. It is a second opinion on ``compare``, whose
interval is the one to act on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixtures.statistics.hypotheses import as_share
from mixtures.statistics.scores import (
    FEWEST_SEEDS,
    Scores,
    as_scores,
    enough_seeds,
    same_items,
    same_seeds,
)

DRAWS = 9_999
_CELLS = 1 << 22
"""Scores in memory at a time."""


@dataclass(frozen=True)
class Interval:
    """The treatment less the baseline with a two-sided interval of ``level``."""

    effect: float
    low: float
    high: float
    level: float
    draws: int


def bootstrap(
    treatment: Any,
    baseline: Any,
    *,
    paired: bool = True,
    level: float = 0.95,
    draws: int = DRAWS,
) -> Interval:
    """An interval of the effect; the same scores have the same interval on every machine.

    Arrays: float [runs, items] or [runs], of the same items, two runs or more an arm.
    ``StatisticsError`` as ``compare``.
    """
    share = as_share(level, "level")
    one, other = as_scores(treatment, "treatment"), as_scores(baseline, "baseline")
    same_items(one, other)
    if paired:
        same_seeds(one, other)
    enough_seeds(min(len(one), len(other)), few_seeds=True)
    groups = (one - other,) if paired else (one, -other)
    effects = _drawn(groups, draws, generator(*groups))
    fewest = min(len(group) for group in groups)
    low, high = expanded(effects, share, fewest)
    return Interval(float(one.mean() - other.mean()), float(low), float(high), share, draws)


def generator(*arrays: NDArray[Any]) -> np.random.Generator:
    """A generator of random numbers that depends on the arrays' content alone."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest(), "little"))


def expanded(values: NDArray[np.float64], level: float, things: int) -> tuple[float, float]:
    """The expanded percentile interval of means of ``things`` that were drawn again."""
    things = max(things, FEWEST_SEEDS)
    t = stats.t.isf((1 - level) / 2, things - 1)
    tail = float(stats.norm.sf(np.sqrt(things / (things - 1)) * t))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def weights(rng: np.random.Generator, draws: int, things: int) -> NDArray[np.float64]:
    """How often each of ``things`` is drawn, as shares of them: float64 [draws, things]."""
    counts = rng.multinomial(things, np.full(things, 1 / things), size=draws)
    found: NDArray[np.float64] = counts / things
    return found


def _drawn(groups: tuple[Scores, ...], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    items = groups[0].shape[1]
    found = np.empty(draws)
    step = max(1, _CELLS // items)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        of_items = weights(rng, count, items)
        total = np.zeros(count)
        for group in groups:
            total += ((weights(rng, count, len(group)) @ group) * of_items).sum(axis=1)
        found[start : start + count] = total
    return found
