"""Simulated studies with variance between seeds: errors of the first kind, and promised power."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from mixtures.statistics import Components, detectable, power
from mixtures.statistics.effects import estimate
from mixtures.statistics.hypotheses import Alternative, p_values

Floats = NDArray[np.float64]
DRAWS = 10_000
BATCH = 500
ALPHA = 0.05

# (runs, items, variances between runs, of items between arms, residual)
GRID = [
    (4, 1, 0.04, 0.0, 0.0),
    (4, 60, 0.04, 0.2, 1.0),
    (6, 100, 0.01, 0.0, 1.0),
    (8, 100, 0.01, 0.3, 0.5),
]
WIDE = [
    (runs, items, run, item, residual)
    for runs in (4, 5, 12)
    for items in (1, 40, 400)
    for run in (0.01, 0.3)
    for item in (0.0, 0.5)
    for residual in (0.2, 2.0)
    if items > 1 or (item == 0 and residual == 0.2)
]


def parts(design: tuple[int, int, float, float, float], groups: int) -> Components:
    """The variances of a difference of two arms."""
    _, items, run, item, residual = design
    if items == 1:
        return Components(run + residual, groups=groups, items=1)
    return Components(run, item, residual, groups=groups, items=items)


def rejected(
    design: tuple[int, int, float, float, float],
    groups: int,
    effect: float,
    alternative: Alternative,
    seed: int,
) -> float:
    """How often the test says p < alpha."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(DRAWS // BATCH):
        found = estimate(*simulated(rng, design, groups, effect))
        p = p_values(found.effect / np.sqrt(found.variance), found.df, alternative)
        hits += int((p < ALPHA).sum())
    return hits / DRAWS


def simulated(
    rng: np.random.Generator,
    design: tuple[int, int, float, float, float],
    groups: int,
    effect: float,
) -> Iterator[Floats]:
    """Groups of runs [BATCH, runs, items]: differences of pairs, or the two arms."""
    runs, items, run, item, residual = design
    share = math.sqrt(1 / groups)
    level = rng.normal(0, 1, (BATCH, 1, items)) if groups == 2 else 0.0  # what items have alone
    for group in range(groups):
        yield (
            (effect if group == 0 else 0.0)
            + level
            + share * math.sqrt(item) * rng.normal(size=(BATCH, 1, items))
            + share * math.sqrt(run) * rng.normal(size=(BATCH, runs, 1))
            + share * math.sqrt(residual) * rng.normal(size=(BATCH, runs, items))
        )


@pytest.mark.parametrize("groups", [1, 2], ids=["paired", "not paired"])
@pytest.mark.parametrize("design", GRID, ids=str)
def test_no_effect_is_found_as_often_as_alpha_says(
    design: tuple[int, int, float, float, float], groups: int
) -> None:
    for alternative in ("greater", "two-sided"):
        found = rejected(design, groups, 0.0, alternative, 31)
        assert abs(found - ALPHA) < 0.01, (alternative, found)


@pytest.mark.parametrize("groups", [1, 2], ids=["paired", "not paired"])
@pytest.mark.parametrize("design", GRID, ids=str)
def test_an_effect_is_found_as_often_as_promised(
    design: tuple[int, int, float, float, float], groups: int
) -> None:
    mde = detectable(parts(design, groups), design[0], design[1])
    found = rejected(design, groups, mde, "greater", 33)
    assert abs(found - 0.8) < 0.02, found
    half = power(mde / 2, parts(design, groups), design[0], design[1])
    assert abs(rejected(design, groups, mde / 2, "greater", 35) - half) < 0.02


@pytest.mark.long
@pytest.mark.parametrize("groups", [1, 2], ids=["paired", "not paired"])
@pytest.mark.parametrize("design", WIDE, ids=str)
def test_a_wide_grid_of_designs(design: tuple[int, int, float, float, float], groups: int) -> None:
    found = rejected(design, groups, 0.0, "greater", 37)
    mde = detectable(parts(design, groups), design[0], design[1])
    seen = rejected(design, groups, mde, "greater", 39)
    _, items, run, _, residual = design
    # Where runs hardly differ beyond the chance of their items, taking no component of items for
    # less than 0 makes the test a little too careful, never too bold.
    careful = items > 1 and run < residual / items
    assert -(0.02 if careful else 0.01) < found - ALPHA < 0.01, found
    assert abs(seen - 0.8) < 0.02, seen
