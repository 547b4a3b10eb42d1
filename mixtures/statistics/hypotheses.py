"""One- and two-sided hypotheses, and the p values and intervals of a t statistic."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixtures.statistics.errors import StatisticsError

Alternative = Literal["greater", "less", "two-sided"]
ALTERNATIVES = ("greater", "less", "two-sided")


def as_alternative(value: str) -> Alternative:
    """``value``, if it is one of ``ALTERNATIVES``."""
    if value not in ALTERNATIVES:
        raise StatisticsError(
            f"alternative: found {value!r}, expected one of {', '.join(ALTERNATIVES)}"
        )
    return cast(Alternative, value)


def as_share(value: float, name: str) -> float:
    """``value``, if it lies between 0 and 1, both excluded."""
    if not 0 < value < 1:
        raise StatisticsError(f"{name}: found {value}, expected a number between 0 and 1")
    return float(value)


def p_values(t: Any, df: Any, alternative: Alternative) -> NDArray[np.float64]:
    """Of statistics ``t`` (any shape) with ``df`` degrees of freedom."""
    if alternative == "two-sided":
        found = 2 * stats.t.sf(np.abs(t), df)
    else:
        found = stats.t.sf(t if alternative == "greater" else -np.asarray(t), df)
    return np.asarray(found, np.float64)


def critical(df: Any, alpha: float, alternative: Alternative) -> NDArray[np.float64]:
    """The size of t from which the hypothesis of no effect is refused at ``alpha``."""
    tail = alpha / 2 if alternative == "two-sided" else alpha
    return np.asarray(stats.t.isf(tail, df), np.float64)
