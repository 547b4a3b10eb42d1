"""Tokens of components: floors, limits and spreading, against brute force."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtures.recipe import MixtureRecipe, mixture_of
from mixtures.resolving import Supply, resolve
from mixtures.solving import (
    apportioned,
    largest_budget,
    nearest_mixture,
    whole_weights,
    with_floors,
)

WEIGHTS = st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any)


def shares_of(weights: list[int]) -> list[Fraction]:
    return [Fraction(weight, sum(weights)) for weight in weights]


@given(WEIGHTS, st.integers(0, 200))
def test_apportioned_is_less_than_one_away(weights: list[int], budget: int) -> None:
    shares = shares_of(weights)
    found = apportioned(budget, shares)
    assert sum(found) == budget
    assert all(abs(a - budget * s) < 1 for a, s in zip(found, shares, strict=True))


@given(WEIGHTS, st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_floors_hold_and_the_others_keep_their_ratios(weights: list[int], low: list[int]) -> None:
    shares = shares_of(weights)
    floors = [Fraction(f, 16) for f in low[: len(shares)]]
    found = with_floors(shares, floors)
    assert sum(found) == 1
    assert all(share >= floor for share, floor in zip(found, floors, strict=True))
    raised = [f > s for f, s in zip(found, shares, strict=True)]
    assert all(f == floor for f, floor, up in zip(found, floors, raised, strict=True) if up)
    kept = [(f, s) for f, s, up in zip(found, shares, raised, strict=True) if not up and s]
    # One that stands on its floor by chance of the ratio is lowered less than in proportion.
    above = [(f, s) for (f, s) in kept if f not in floors]
    assert len({f / s for f, s in above}) <= 1


def feasible_by_force(budget: int, shares: list[Fraction], limits: list[int]) -> bool:
    ranges = [
        range((limit if share else 0) + 1) for limit, share in zip(limits, shares, strict=True)
    ]
    return any(sum(amounts) == budget for amounts in itertools.product(*ranges))


LIMITS = st.lists(st.integers(0, 9), min_size=4, max_size=4)
FLOORS = st.lists(st.integers(0, 4), min_size=4, max_size=4)


@settings(max_examples=150, deadline=None)
@given(WEIGHTS, st.integers(1, 12), LIMITS)
def test_there_is_a_nearest_mixture_where_there_is_any(
    weights: list[int], budget: int, most: list[int]
) -> None:
    shares, limits = shares_of(weights), most[: len(weights)]
    found = nearest_mixture(budget, weights, limits)
    assert (found is not None) == feasible_by_force(budget, shares, limits)
    assert found == nearest_mixture(budget, shares, limits), "weights are shares"


@settings(max_examples=300, deadline=None)
@given(WEIGHTS, st.integers(1, 60), st.lists(st.integers(0, 40), min_size=4, max_size=4), FLOORS)
def test_the_nearest_mixture_keeps_the_wish_where_it_can(
    weights: list[int], budget: int, most: list[int], low: list[int]
) -> None:
    floors = [Fraction(f, 16) for f in low[: len(weights)]]
    wish, limits = with_floors(shares_of(weights), floors), most[: len(weights)]
    found = nearest_mixture(budget, weights, limits, floors)
    if found is None:
        assert sum(m for m, share in zip(limits, wish, strict=True) if share) < budget
        return
    assert sum(found) == budget
    assert all(amount <= limit for amount, limit in zip(found, limits, strict=True))
    assert all(not amount for amount, share in zip(found, wish, strict=True) if not share)
    if all(budget * share <= limit for share, limit in zip(wish, limits, strict=True)):
        assert found == apportioned(budget, wish), "what can be met is left as it is"
    for amount, limit, floor in zip(found, limits, floors, strict=True):
        assert amount >= min(limit, math.floor(budget * floor))
    # What is below its limit is in proportion to the wish, to a unit; the rest would be more.
    open_ones = [i for i, m in enumerate(limits) if wish[i] and found[i] < m]
    if open_ones:
        used = [i for i, m in enumerate(limits) if wish[i] and found[i] == m]
        level = sum(Fraction(found[i]) for i in open_ones) / sum(wish[i] for i in open_ones)
        assert all(abs(found[i] - level * wish[i]) < len(wish) for i in open_ones)
        assert all(found[i] < level * wish[i] + len(wish) for i in used)


def test_the_nearest_mixture_of_examples() -> None:
    assert nearest_mixture(10, [1, 1, 2], [9, 1, 9]) == (3, 1, 6)
    # Two are used up one after the other: what the first lacks is more than the second has.
    assert nearest_mixture(12, [4, 1, 1], [1, 5, 9]) == (1, 5, 6)
    assert nearest_mixture(10, [1, 0], [9, 9]) is None, "what is not wished is no help"
    half = Fraction(1, 2)
    assert nearest_mixture(10, [1, 0], [9, 9], [Fraction(0), half]) == (5, 5)
    assert nearest_mixture(10, [1, 0], [9, 3], [Fraction(0), half]) == (7, 3)


@given(WEIGHTS, st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_the_largest_budget_is_one(weights: list[int], most: list[int]) -> None:
    shares, limits = shares_of(weights), most[: len(weights)]
    best = largest_budget(shares, limits)
    assert all(best * s <= m for s, m in zip(shares, limits, strict=True) if s)
    assert any((best + 1) * s > m for s, m in zip(shares, limits, strict=True) if s)


def test_whole_weights_are_small() -> None:
    assert whole_weights([Fraction(2, 5), Fraction(3, 5), Fraction(0)]) == (2, 3, 0)


def mixture(**changes: object) -> MixtureRecipe:
    components = {
        "a": {"sources": ["a"], "weight": "90%"},
        "b": {"sources": ["b"], "weight": "10%", "floor": "20%", "epochs": 2},
    }
    return mixture_of({"components": components, **changes})


def supply(a: int, b: int) -> dict[str, Supply]:
    return {"a": Supply(10, a, a), "b": Supply(10, b, b)}


def test_a_floor_is_told() -> None:
    found = resolve(mixture(), supply(1000, 1000), 1000)
    assert found.feasible
    assert [row.realised for row in found.rows] == [800, 200]
    assert found.weights == (4, 1)
    assert "raised to its floor of 20%" in found.rows[1].why[0]
    assert "lowered from 90%" in found.rows[0].why[0]


def test_a_shortage_is_refused_with_the_nearest() -> None:
    found = resolve(mixture(), supply(100, 1000), 1000)
    assert not found.feasible
    assert found.nearest == (Fraction(400, 1000), Fraction(600, 1000))
    assert found.largest == 500
    spreads = resolve(mixture(on_shortage="spread"), supply(100, 1000), 1000)
    assert spreads.feasible
    assert [row.realised for row in spreads.rows] == [400, 600]
    assert "capped" in spreads.rows[0].why[1]
    assert "400 tokens spread to it" in spreads.rows[1].why[1]


def test_less_than_a_floor_is_refused_though_others_have_more() -> None:
    found = resolve(mixture(on_shortage="spread"), supply(10_000, 50), 1000)
    assert not found.feasible
    assert found.nearest == (Fraction(900, 1000), Fraction(100, 1000))
    assert "too little for its floor" in found.rows[1].why[-1]


def test_what_matches_nothing_is_never_spread_away() -> None:
    found = resolve(mixture(on_shortage="spread"), supply(0, 10_000), 1000)
    assert not found.feasible
    assert "matches nothing" in found.rows[0].why[-1]


@pytest.mark.parametrize(("times", "shares"), [((1, 1), (0.75, 0.25)), ((1, 3), (0.5, 0.5))])
def test_times_is_of_the_corpus_s_own_share(
    times: tuple[int, int], shares: tuple[float, float]
) -> None:
    parts = {n: {"sources": [n], "times": t} for n, t in zip("ab", times, strict=True)}
    found = resolve(mixture_of({"components": parts}), supply(3000, 1000), 1000)
    assert tuple(float(row.share) for row in found.rows) == shares
