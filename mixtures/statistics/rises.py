"""What repetition costs one tier more than another: no curve is assumed.

A tier's rise at E epochs is its loss there less that at the fewest epochs, by seed. Two tiers are
compared by their rises, paired by seed, at every number of epochs that both were run at; two-sided,
with Holm over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixtures.statistics.comparison import compare
from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.multiple import holm
from mixtures.statistics.scores import ENOUGH_SEEDS
from mixtures.statistics.turning_data import Runs
from mixtures.statistics.turning_fits import Floats


@dataclass(frozen=True)
class RiseDifference:
    """At ``epochs``: the mean rises of ``one`` and ``other`` since ``fewest`` epochs, their
    difference with its interval, its p, p after Holm, and over how many seeds."""

    fewest: float
    epochs: float
    one: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    seeds: int


def rise_differences(one: Runs, other: Runs, *, level: float = 0.95) -> list[RiseDifference]:
    """The rises of one tier less those of another.

    Raises
    ------
    StatisticsError
        If they were not run at the same fewest epochs, share no other number of epochs at which
        four seeds ran in both, or differ by the same number in every seed.
    """
    fewest = float(one.epochs[0])
    if fewest != other.epochs[0]:
        raise StatisticsError(
            f"found fewest epochs of {fewest:g} and {other.epochs[0]:g}, expected the same ones"
        )
    _, mine, its = np.intersect1d(one.seeds, other.seeds, return_indices=True)
    found = []
    for epochs in np.intersect1d(one.epochs, other.epochs)[1:]:
        first = _rise(one, mine, float(epochs))
        second = _rise(other, its, float(epochs))
        there = np.isfinite(first) & np.isfinite(second)
        if there.sum() < ENOUGH_SEEDS:
            continue
        test = compare(first[there], second[there], level=level)
        found.append((float(epochs), first[there].mean(), second[there].mean(), test))
    if not found:
        raise StatisticsError(
            f"found no number of epochs above {fewest:g} at which {ENOUGH_SEEDS} seeds ran in both"
        )
    adjusted = holm([test.p for *_, test in found])
    return [
        RiseDifference(
            fewest, epochs, float(first), float(second), test.effect, test.low, test.high,
            test.p, float(p), test.runs[0],
        )
        for (epochs, first, second, test), p in zip(found, adjusted, strict=True)
    ]  # fmt: skip


def _rise(runs: Runs, rows: NDArray[np.intp], epochs: float) -> Floats:
    column = int(np.flatnonzero(runs.epochs == epochs)[0])
    losses = runs.losses[rows]
    rise: Floats = losses[:, column] - losses[:, 0]
    return rise
