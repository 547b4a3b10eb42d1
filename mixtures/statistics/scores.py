"""An arm's scores: float64 [runs, items], checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixtures.statistics.errors import StatisticsError

Scores = NDArray[np.float64]

ENOUGH_SEEDS = 4
"""Runs an arm below which nothing is said of runs in general, unless it is asked for."""
FEWEST_SEEDS = 2
"""Runs an arm below which nothing is known of their variance."""


def as_scores(values: Any, name: str) -> Scores:
    """``values`` as float64 [runs, items]; [runs] counts as one item.

    Raises
    ------
    StatisticsError
        If the array has another number of dimensions, is empty or not numeric, or holds a value
        that is not finite, whose place is named.
    """
    try:
        scores: Scores = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise StatisticsError(
            f"{name}: found rows of different lengths or values that are no numbers, expected an "
            "array [runs, items]"
        ) from None
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2 or not scores.size:
        raise StatisticsError(
            f"{name}: found an array of shape {list(scores.shape)}, expected [runs, items], "
            "neither of them 0"
        )
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        run, item = bad[0]
        raise StatisticsError(
            f"{name}: found {scores[run, item]} at run {run}, item {item} ({len(bad)} such "
            "values), expected finite scores; leave out the run or repeat it"
        )
    return np.ascontiguousarray(scores)


def same_items(treatment: Scores, baseline: Scores) -> None:
    """Refuse arms that answered different numbers of items."""
    if treatment.shape[1] != baseline.shape[1]:
        raise StatisticsError(
            f"found {treatment.shape[1]} items in the treatment and {baseline.shape[1]} in the "
            "baseline, expected the same items in both"
        )


def same_seeds(treatment: Scores, baseline: Scores) -> None:
    """Refuse arms of different numbers of runs as pairs."""
    if len(treatment) != len(baseline):
        raise StatisticsError(
            f"found {len(treatment)} runs in the treatment and {len(baseline)} in the baseline, "
            "expected pairs of runs of one seed in the same order; leave out runs without a "
            "partner, or compare with paired=False"
        )


def enough_seeds(fewest: int, few_seeds: bool) -> None:
    """Refuse too few runs in the smaller arm."""
    if fewest < FEWEST_SEEDS:
        raise StatisticsError(
            f"found {fewest} run in an arm, expected at least {FEWEST_SEEDS}: one run says nothing "
            "of the variance between runs; items_only compares these checkpoints"
        )
    if fewest < ENOUGH_SEEDS and not few_seeds:
        raise StatisticsError(
            f"found {fewest} runs in an arm, expected at least {ENOUGH_SEEDS}: run more seeds, or "
            "ask for few_seeds=True, which is labelled"
        )
