"""Tokens of components: floors, limits and spreading, against brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtures.recipe import MixtureRecipe, mixture_of
from mixtures.resolving import Supply, resolve
from mixtures.solving import apportioned, largest_budget, nearest, whole_weights, with_floors

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


def feasible_by_force(budget: int, limits: list[int]) -> bool:
    ranges = [range(limit + 1) for limit in limits]
    return any(sum(amounts) == budget for amounts in itertools.product(*ranges))


@settings(max_examples=150, deadline=None)
@given(WEIGHTS, st.integers(1, 12), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_the_nearest_can_be_met_and_is_in_proportion(
    weights: list[int], budget: int, most: list[int]
) -> None:
    shares, limits = shares_of(weights), most[: len(weights)]
    found = nearest(budget, shares, limits)
    assert (found is not None) == feasible_by_force(budget, limits)
    if found is None:
        return
    assert sum(found) == budget
    assert all(a <= limit for a, limit in zip(found, limits, strict=True))
    # What nothing is asked of gives only where the others are used up.
    used_up = sum(m for m, share in zip(limits, shares, strict=True) if share) < budget
    if used_up:
        assert all(a == m for a, m, share in zip(found, limits, shares, strict=True) if share)
        return
    assert all(not a for a, share in zip(found, shares, strict=True) if not share)
    # What is below its limit gets the same multiple of its share, to one unit.
    scale = [(a, s) for a, s, m in zip(found, shares, limits, strict=True) if s and a < m]
    if scale:
        level = sum(a for a, _ in scale) / sum(s for _, s in scale)
        full = [(m, s) for a, s, m in zip(found, shares, limits, strict=True) if s and a == m]
        assert all(abs(a - level * s) <= len(weights) for a, s in scale)
        assert all(m <= level * s + len(weights) for m, s in full)


@settings(max_examples=300, deadline=None)
@given(
    WEIGHTS,
    st.integers(1, 40),
    st.lists(st.integers(0, 30), min_size=4, max_size=4),
    st.lists(st.integers(0, 5), min_size=4, max_size=4),
)
def test_the_nearest_keeps_floors_and_is_its_own_nearest(
    weights: list[int], budget: int, most: list[int], low: list[int]
) -> None:
    floors = [Fraction(f, 20) for f in low[: len(weights)]]
    shares, limits = with_floors(shares_of(weights), floors), most[: len(weights)]
    least = [int(budget * floor) for floor in floors]
    found = nearest(budget, shares, limits, floors)
    enough = sum(limits) >= budget
    assert (found is not None) == (
        enough and all(m >= f for m, f in zip(limits, least, strict=True))
    )
    if found is None:
        return
    assert sum(found) == budget
    assert all(f <= a <= m for f, a, m in zip(least, found, limits, strict=True))
    assert nearest(budget, [Fraction(a, budget) for a in found], limits, floors) == found
    wanted = apportioned(budget, shares)
    if all(a <= m for a, m in zip(wanted, limits, strict=True)):
        assert found == wanted, "what can be met is its own nearest"


@settings(max_examples=300, deadline=None)
@given(
    WEIGHTS,
    st.integers(1, 40),
    st.lists(st.integers(1, 200), min_size=4, max_size=4),
    st.lists(st.integers(0, 5), min_size=4, max_size=4),
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
    st.sampled_from([1, 7]),
    st.sampled_from(["refuse", "spread"]),
)
def test_a_mixture_s_nearest_is_met_as_it_is_written(
    weights: list[int],
    budget: int,
    tokens: list[int],
    low: list[int],
    epochs: list[int],
    unit: int,
    on_shortage: str,
) -> None:
    """Pasted in the mixture's place it comes out as it says, and spreading does the same."""
    names = "abcd"[: len(weights)]
    parts: dict[str, dict[str, object]] = {
        name: {"sources": [name], "weight": str(share), "floor": f"{floor}/20", "epochs": most}
        for name, share, floor, most in zip(names, shares_of(weights), low, epochs, strict=False)
    }
    supplies = {
        name: Supply(1, amount, amount) for name, amount in zip(names, tokens, strict=False)
    }
    asked = mixture_of({"components": parts, "on_shortage": on_shortage})
    found = resolve(asked, supplies, budget * unit, unit)
    if found.feasible:
        assert all(row.realised <= row.limit for row in found.rows)
        return
    spreads = mixture_of({"components": parts, "on_shortage": "spread"})
    assert resolve(spreads, supplies, budget * unit, unit).feasible == (
        found.can_spread and on_shortage == "refuse"
    )
    if found.nearest is None:
        caps = [row.limit // unit for row in found.rows]
        least = [budget * floor // 20 for floor in low]
        assert sum(caps) < budget or any(m < f for m, f in zip(caps, least, strict=False))
        return
    written = {
        name: {**part, "weight": str(share)}
        for (name, part), share in zip(parts.items(), found.nearest, strict=True)
    }
    pasted = resolve(mixture_of({"components": written}), supplies, budget * unit, unit)
    assert pasted.feasible
    assert [Fraction(row.realised, budget * unit) for row in pasted.rows] == list(found.nearest)
    if found.can_spread:
        spread = resolve(spreads, supplies, budget * unit, unit)
        assert [row.realised for row in spread.rows] == [row.realised for row in pasted.rows]


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
    assert found.nearest is None
    assert "too little for its floor" in found.rows[1].why[-1]


def test_what_nothing_is_asked_of_is_told_as_nearest_and_not_taken_by_itself() -> None:
    parts = {"a": {"sources": ["a"], "weight": "100%"}, "b": {"sources": ["b"], "weight": 0}}
    asked = mixture_of({"components": parts, "on_shortage": "spread"})
    found = resolve(asked, supply(100, 1000), 1000)
    assert not found.feasible
    assert not found.can_spread
    assert found.nearest == (Fraction(400, 1000), Fraction(600, 1000))


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
