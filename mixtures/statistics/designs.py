"""The power of ``compare`` in a design of so many seeds and items.

Where scores are normal, the mean squares of ``effects`` are independent multiples of chi-square,
and independent of the effect. Given them, the test's edge is known: the critical t of their
Satterthwaite degrees of freedom times their standard error; the effect passes it with a normal
probability. The power is the mean of that over the mean squares, taken at points spread evenly
over their quantiles. For one group of runs with one value each this is the noncentral t
distribution; for two it has Welch's degrees of freedom, which vary with the runs, and for items the
estimate of their variance in it. With four seeds the normal one would promise far too much.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from mixtures.statistics.components import Components
from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.hypotheses import Alternative, critical

Floats = NDArray[np.float64]

_POINTS = 2048


class Design:
    """``seeds`` runs an arm (2 or more) of ``items`` items, with variances that are known."""

    def __init__(
        self,
        components: Components,
        seeds: int,
        items: int,
        alpha: float,
        alternative: Alternative,
    ) -> None:
        variance = components.of_design(seeds, items)
        if variance == 0:
            raise StatisticsError("found no variance between runs, of which power cannot be told")
        self._deviation = math.sqrt(variance)
        self._alternative = alternative
        estimated, df = _estimates(components, seeds, items)
        self._edges = critical(df, alpha, alternative) * np.sqrt(estimated) / self._deviation

    def power(self, effect: float) -> float:
        """The chance of a finding where ``effect`` is the true one."""
        size = effect / self._deviation
        above = float(special.ndtr(size - self._edges).mean())
        below = float(special.ndtr(-size - self._edges).mean())
        if self._alternative == "two-sided":
            return above + below
        return above if self._alternative == "greater" else below

    def detectable(self, power: float) -> float:
        """The effect above 0 that is found with the chance ``power``, which is above alpha."""

        def short(size: float) -> float:
            return self.power(size * self._deviation) - power

        high = 1.0
        while short(high) < 0:
            high *= 2
        return float(optimize.brentq(short, 0.0, high, xtol=1e-10)) * self._deviation


def _estimates(components: Components, seeds: int, items: int) -> tuple[Floats, Floats]:
    """Variances and degrees of freedom that ``effects.estimate`` would find: [points] each."""
    groups = components.groups
    u = _spread(groups + 2)
    free = seeds - 1
    of_run = (components.run + components.residual / items) / groups / seeds
    if items == 1:
        # One item tells nothing of how items differ: the test does not know of it.
        of_run = (components.run + components.residual) / groups / seeds
    variance, squares = np.zeros(_POINTS), np.zeros(_POINTS)
    for group in range(groups):
        part = of_run * stats.chi2.ppf(u[group], free) / free
        variance += part
        squares += part**2 / free
    if items > 1:
        many = groups * free * (items - 1)
        noise = components.residual / seeds
        by_item = (components.item + noise) * stats.chi2.ppf(u[-2], items - 1) / (items - 1)
        noise = noise * stats.chi2.ppf(u[-1], many) / many
        item = np.maximum(by_item - noise, 0)
        variance += item / items
        squares += np.where(
            item > 0,
            (by_item / items) ** 2 / (items - 1) + (noise / items) ** 2 / many,
            0.0,
        )
    # Variances of 0 are of items alone, in drawings where these show none: any df will do.
    df = np.divide(variance**2, squares, out=np.full(_POINTS, np.inf), where=squares > 0)
    return variance, df


def _spread(dimensions: int) -> Floats:
    """Points spread evenly over the unit cube: [dimensions, points]. Equal steps in the first, and
    steps of powers of an irrational number in the others, the same everywhere."""
    steps = np.arange(_POINTS)
    root = float(optimize.brentq(lambda x: x**dimensions - x - 1, 1.0, 2.0))
    others = [(0.5 + steps * root**-power) % 1 for power in range(1, dimensions)]
    return np.stack([(steps + 0.5) / _POINTS, *others])
