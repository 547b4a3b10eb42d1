"""p values of several tests at once, and many arms against one baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.hypotheses import as_alternative
from mixtures.statistics.scores import as_scores, enough_seeds


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """p adjusted so that the chance of any false finding is held (Holm, Scandinavian Journal of
    Statistics 6, 1979), in the order given; whatever the tests have to do with each other."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    return _back(np.maximum.accumulate(factors * values[order]), order)


def benjamini_hochberg(p: Sequence[float]) -> NDArray[np.float64]:
    """p adjusted so that the expected share of false findings among the findings is held (Benjamini
    & Hochberg, Journal of the Royal Statistical Society B 57, 1995); of independent tests."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    count = len(values)
    raised = values[order] * count / np.arange(1, count + 1)
    return _back(np.minimum.accumulate(raised[::-1])[::-1], order)


def dunnett(
    treatments: Mapping[str, Any],
    baseline: Any,
    *,
    alternative: str = "two-sided",
    few_seeds: bool = False,
) -> dict[str, float]:
    """Adjusted p of each treatment against the baseline by the means of runs (Dunnett, Journal of
    the American Statistical Association 50, 1955; SciPy's).

    It takes seeds as not paired and all arms as equally variable; where that holds it sees a little
    more than ``holm``. Arrays: float [runs, items] or [runs].
    """
    kind = as_alternative(alternative)
    arms = {name: as_scores(values, name).mean(axis=1) for name, values in treatments.items()}
    control = as_scores(baseline, "baseline").mean(axis=1)
    for means in (*arms.values(), control):
        enough_seeds(len(means), few_seeds)
    # Dunnett's distribution is integrated by quasi-random points: the same ones every time.
    found = stats.dunnett(
        *arms.values(), control=control, alternative=kind, rng=np.random.default_rng(0)
    )
    return dict(zip(arms, map(float, found.pvalue), strict=True))


def _checked(p: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(p, np.float64)
    if values.ndim != 1:
        raise StatisticsError(f"p: found shape {list(values.shape)}, expected a list of p values")
    for at, value in enumerate(values):
        if not 0 <= value <= 1:
            raise StatisticsError(f"p[{at}]: found {value}, expected a number from 0 to 1")
    return values


def _back(adjusted: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    found = np.empty_like(adjusted)
    found[order] = np.minimum(adjusted, 1)
    return found
