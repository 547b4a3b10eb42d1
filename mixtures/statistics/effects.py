"""The estimate of an effect from runs by items, with its variance by mean squares.

The model. Score of item i in run r of arm a::

    y[a, r, i] = mean[a] + item[i] + (arm x item)[a, i] + run[a, r] + residual[a, r, i]

Items are the same in all arms, so that ``item`` leaves the difference of two arms. What is left is
random in both directions: other seeds would give other runs, other items other differences. Where
seeds are paired, the differences d[r, i] of the two arms are one group of runs (a seed's common
part leaves them too); else each arm is a group of its own, with its own variances.

With R runs in a group and N items, from the analysis of variance of the two-way layout without
replication (Searle, Casella & McCulloch, Variance Components, 1992, chapter 4), expected mean
squares give

* V_run, the variance of the runs' means: estimates run + residual/N;
* V_item, the variance over items of the difference of the groups' item means: estimates
  (arm x item) + the sum over groups of residual/R;
* M_residual, the interaction mean square of a group: estimates residual.

The variance of the effect is the sum over groups of V_run/R, plus the component (arm x item)/N,
which is V_item less the groups' M_residual/R, taken as 0 where the difference is negative (where
runs differ by little more than their items' chance, this makes tests at 5 % err in as few as 3.8 %
of null comparisons; tests/mixtures/test_statistics_simulated.py has the simulations). One item
or no such component leaves the plain t test of run means (Welch's where there are two groups). The
degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946) over the mean squares in the
sum, those subtracted included.

All functions take leading axes, so that simulations run at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimated:
    """Of each stack of leading axes: float64 [...].

    ``run``, ``item`` and ``residual`` are variances that add over groups: the effect of a design
    of R runs a group and N items has variance ``run/R + item/N + residual/(R N)`` (groups equal).
    """

    effect: Floats
    variance: Floats
    df: Floats
    run: Floats
    item: Floats
    residual: Floats


def estimate(*groups: Floats) -> Estimated:
    """The mean of the first group less that of the second, where there is one.

    ``groups``: float64 [..., runs, items], of the same items; two runs or more each.
    """
    items = groups[0].shape[-1]
    signs = (1.0, -1.0)[: len(groups)]
    by_item = sum(
        (sign * g.mean(axis=-2) for sign, g in zip(signs, groups, strict=True)),
        start=np.zeros(()),
    )
    effect = by_item.mean(axis=-1)
    zero = np.zeros(effect.shape)
    variance, squares = zero.copy(), zero.copy()
    run, residual, noise, noise_squares = zero.copy(), zero.copy(), zero.copy(), zero.copy()
    for group in groups:
        runs = group.shape[-2]
        means = group.mean(axis=-1)
        v_run = means.var(axis=-1, ddof=1)
        variance += v_run / runs
        squares += (v_run / runs) ** 2 / (runs - 1)
        left = zero
        if items > 1:
            left = _interaction(group, means)
            noise += left / runs
            noise_squares += (left / runs / items) ** 2 / ((runs - 1) * (items - 1))
        run += np.maximum(v_run - left / items, 0)
        residual += left
    item = zero
    if items > 1:
        v_item = by_item.var(axis=-1, ddof=1)
        item = np.maximum(v_item - noise, 0)
        squares += np.where(item > 0, (v_item / items) ** 2 / (items - 1) + noise_squares, 0.0)
        variance += item / items
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(squares > 0, variance**2 / squares, np.inf)
    return Estimated(effect, variance, df, run, item, residual)


def _interaction(group: Floats, means: Floats) -> Floats:
    """The mean square of what neither the run nor the item explains."""
    runs, items = group.shape[-2:]
    left = group - means[..., None] - group.mean(axis=-2, keepdims=True)
    left += means.mean(axis=-1)[..., None, None]
    found: Floats = np.square(left).sum(axis=(-1, -2)) / ((runs - 1) * (items - 1))
    return found
