"""Whether a metric tells good from bad: an obvious gap over the deviation between seeds.

Discriminative power is Δ_obvious/σ_seed (MiniMax-01, arXiv:2501.08313, section 4.1.3). A metric
passes where the lower end of the ratio's interval is at least 2: at a true ratio of 2, four seeds
an arm find the obvious gap, and nothing smaller, about four times in five (one-sided, 5 %). The
paper names no threshold; this one is chosen here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.hypotheses import as_share

LEAST_RATIO = 2.0
_POINTS = 2000


@dataclass(frozen=True)
class Discriminative:
    """``ratio`` of gap and deviation with the two-sided interval ``low`` to ``high`` of ``level``;
    ``tells``: whether ``low`` reaches ``LEAST_RATIO``."""

    ratio: float
    low: float
    high: float
    level: float
    tells: bool


def discriminative_power(
    gap: float,
    sigma: float,
    df: float,
    *,
    runs: tuple[int, int] | None = None,
    level: float = 0.95,
) -> Discriminative:
    """``gap`` (0 or more) over ``sigma``, the deviation between seeds known to ``df`` degrees of
    freedom.

    With ``runs``, the numbers of runs whose means the gap is between, the interval is that of the
    noncentral t distribution, for gap and deviation both are estimates (exact for independent
    normal runs of one variance). Without it the gap is taken as known, and the interval is the
    deviation's, of chi-square.
    """
    share = as_share(level, "level")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise StatisticsError(
            f"sigma: found {sigma}, expected a deviation above 0; are the runs copies of one run?"
        )
    if not (gap >= 0 and math.isfinite(gap)):
        raise StatisticsError(f"gap: found {gap}, expected 0 or more")
    if not df >= 1:
        raise StatisticsError(f"df: found {df}, expected 1 or more: two runs of an arm")
    ratio = gap / sigma
    tail = (1 - share) / 2
    if runs is None:
        low, high = (ratio * math.sqrt(float(stats.chi2.ppf(p, df)) / df) for p in (tail, 1 - tail))
    else:
        scale = math.sqrt(1 / runs[0] + 1 / runs[1])
        low, high = (_noncentrality(ratio / scale, df, p) * scale for p in (1 - tail, tail))
    return Discriminative(ratio, low, high, share, low >= LEAST_RATIO)


def _noncentrality(t: float, df: float, below: float) -> float:
    """The noncentrality, 0 or more, at which a value up to ``t`` has the chance ``below``."""
    # The noncentral t as a mixture over the deviation: stable where its series is not.
    u = (np.arange(_POINTS) + 0.5) / _POINTS
    spread = np.sqrt(stats.chi2.ppf(u, df) / df)

    def over(value: float) -> float:
        return float(special.ndtr(t * spread - value).mean()) - below

    if over(0.0) <= 0:
        return 0.0
    high = max(1.0, 2 * t)
    while over(high) > 0:
        high *= 2
    return float(optimize.brentq(over, 0.0, high, xtol=1e-9))
