"""Rank agreement with intervals: Spearman, partial Spearman, AUC, and their paired differences.

Intervals are bootstrap percentiles over documents (Efron and Tibshirani 1993), 95 %, from a fixed
seed. A difference of two scorers is drawn over the same documents for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

F64 = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], float]
"""Of the documents at some places, which may repeat."""

DRAWS = 2000
_SEED = 20250113
_FEWEST = 5


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """The numbers, rounded to four decimals."""
        return {
            "value": round(self.value, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
        }

    def excludes(self, value: float) -> bool:
        """Whether the interval lies above the value."""
        return self.low > value

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(statistic: Statistic, documents: int, draws: int = DRAWS) -> Interval:
    """The statistic of all documents, and percentiles of it over samples with replacement.

    A sample on which it is not defined (one class alone, equal values throughout) is left out.

    Raises
    ------
    ValueError
        For fewer than 5 documents, or where more than one sample in twenty is undefined.
    """
    if documents < _FEWEST:
        raise ValueError(f"documents: found {documents}, expected {_FEWEST} or more")
    random = np.random.default_rng(_SEED)
    drawn = np.array(
        [statistic(random.integers(0, documents, documents)) for _ in range(draws)], np.float64
    )
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < 0.95 * draws:
        raise ValueError(
            f"found a statistic that {draws - len(drawn)} of {draws} samples do not define, "
            "expected documents that differ more"
        )
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(statistic(np.arange(documents)), float(low), float(high))


def spearman(scores: F64, truth: F64) -> float:
    """Spearman's rank correlation; nan where either does not vary."""
    return _pearson(rankdata(scores), rankdata(truth))


def partial_spearman(scores: F64, truth: F64, given: F64) -> float:
    """Spearman's correlation of what is left of the ranks of both after the least-squares fit on
    ``given`` float64[n, columns]: of numbers the caller ranks, and of groups their indicators."""
    design = np.column_stack([np.ones(len(scores)), given])
    left = [
        ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        for ranks in (rankdata(scores), rankdata(truth))
    ]
    return _pearson(left[0], left[1])


def auc(scores: F64, kept: NDArray[np.bool_]) -> float:
    """The probability that a kept document scores above a dropped one, ties half; nan for one class
    (Mann and Whitney 1947)."""
    ones = int(kept.sum())
    others = len(kept) - ones
    if not ones or not others:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[kept].sum() - ones * (ones + 1) / 2) / (ones * others))


def _pearson(one: F64, other: F64) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one**2).sum() * (other**2).sum()))
    # What a least-squares fit leaves of ranks that it explains wholly is rounding, no variation.
    return float((one * other).sum() / size) if size > 1e-9 * len(one) else float("nan")


def indicators(groups: Sequence[str], least: int = 5) -> F64:
    """float64[n, groups]: 1 where a document is of a group; groups of fewer than ``least``
    documents are one."""
    names = sorted({name for name in groups if groups.count(name) >= least})
    return np.array([[float(group == name) for name in names] for group in groups]).reshape(
        len(groups), len(names)
    )
