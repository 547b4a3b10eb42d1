"""Quotas against their integral in fractions; every prefix of a schedule close to its quota; the
compiled schedule and its windows against the plain ones."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixtures.interleave import interleave, interleave_plainly
from mixtures.plan import Component, LateMixture, PlanSpec, Transition
from mixtures.quotas import Quotas
from mixtures.windows import windows

NAMES = [f"c{i}" for i in range(6)]


def share(spec: PlanSpec, component: int, token: Fraction) -> Fraction:
    """A component's share at a point of the stage, as the specification says it."""

    def of(weights: tuple[int, ...]) -> Fraction:
        return Fraction(weights[component], sum(weights))

    if spec.late is not None and token >= spec.late.start:
        return of(spec.weights_of(spec.late.weights))
    own = of(spec.weights)
    if spec.transition is None or token >= spec.transition.tokens:
        return own
    previous = of(spec.weights_of(spec.transition.previous))
    return previous + (own - previous) * token / spec.transition.tokens


def quota(spec: PlanSpec, component: int, token: int) -> Fraction:
    """The integral of the share. It is linear between marks: the midpoint gives it exactly."""
    marks = {0, token}
    if spec.transition is not None:
        marks.add(min(spec.transition.tokens, token))
    if spec.late is not None:
        marks.add(min(spec.late.start, token))
    ordered = sorted(marks)
    return sum(
        (share(spec, component, Fraction(a + b, 2)) * (b - a) for a, b in pairwise(ordered)),
        Fraction(0),
    )


@st.composite
def specs(draw: st.DrawFn, heaviest: int = 10**12, longest: int = 5000) -> PlanSpec:
    count = draw(st.integers(1, 6))
    weights = st.lists(st.integers(0, heaviest), min_size=count, max_size=count).filter(any)

    def named() -> dict[str, int]:
        return dict(zip(NAMES, draw(weights), strict=False))

    length, sequences = draw(st.integers(1, longest)), draw(st.integers(1, 300))
    tokens = length * sequences + draw(st.integers(0, length - 1))
    ramp = draw(st.none() | st.integers(1, 2 * tokens))
    late = draw(st.none() | st.integers(ramp or 0, max(ramp or 0, tokens)))
    return PlanSpec(
        length=length,
        tokens=tokens,
        components=tuple(
            Component(name=name, sources=(name,), weight=weight)
            for name, weight in zip(NAMES, draw(weights), strict=False)
        ),
        transition=None if ramp is None else Transition(tokens=ramp, previous=named()),
        late=None if late is None else LateMixture(start=late, weights=named()),
    )


def beyond_floats(spec: PlanSpec) -> PlanSpec:
    """The same with more tokens than float64 counts."""
    more = 1 << 24
    changes: dict[str, Any] = {"length": spec.length << 24, "tokens": spec.tokens * more}
    if spec.transition is not None:
        tokens = spec.transition.tokens * more
        changes["transition"] = spec.transition.model_copy(update={"tokens": tokens})
    if spec.late is not None:
        changes["late"] = spec.late.model_copy(update={"start": spec.late.start * more})
    return spec.model_copy(update=changes)


@settings(max_examples=120, deadline=None)
@given(specs())
def test_every_prefix_is_less_than_a_sequence_from_its_quotas(spec: PlanSpec) -> None:
    count = len(spec.components)
    quotas = Quotas(spec)
    drawn = interleave(quotas, count, spec.sequences, spec.length)
    done = np.cumsum(drawn[:, None] == np.arange(count), axis=0)
    for prefix in range(1, spec.sequences + 1):
        tokens = prefix * spec.length
        for component in range(count):
            exact = Fraction(quotas.at(component, tokens), quotas.unit)
            assert abs(int(done[prefix - 1, component]) * spec.length - exact) < spec.length
    for tokens in {0, 1, spec.length, spec.sequences * spec.length // 2, quotas.end} - {0}:
        if tokens <= quotas.end:
            for component in range(count):
                exact = Fraction(quotas.at(component, tokens), quotas.unit)
                assert exact == quota(spec, component, tokens)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        specs(),
        specs(heaviest=4),  # quotas that are reached at the end of a sequence exactly
        specs(heaviest=(1 << 62) - 1),  # beyond what a compiled line holds
        specs(heaviest=10**6, longest=1 << 31),
        specs(heaviest=10**6, longest=1 << 31).map(beyond_floats),
    )
)
def test_the_compiled_schedule_is_the_plain_one(spec: PlanSpec) -> None:
    quotas, count = Quotas(spec), len(spec.components)
    drawn = interleave(quotas, count, spec.sequences, spec.length)
    plain = interleave_plainly(quotas, count, spec.sequences, spec.length)
    assert np.array_equal(drawn, plain)
    whole = quotas.unit * spec.length
    for component in range(count):
        releases, dues = windows(quotas, component, spec.sequences, spec.length)
        assert len(releases) == -(-quotas.at(component, quotas.end) // whole)
        for j, (release, due) in enumerate(zip(releases.tolist(), dues.tolist(), strict=True)):
            assert release == quotas.reach(component, j * whole + 1, spec.length)
            last = quotas.reach(component, (j + 1) * whole, spec.length)
            assert due == (spec.sequences + 1 if last is None else last)


def test_floats_decide_nearly_everything_of_a_long_transition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    components = tuple(
        Component(name=name, sources=(name,), weight=weight)
        for name, weight in zip(NAMES, (300_000, 350_000, 349_999), strict=False)
    )
    previous = dict(zip(NAMES, (1, 600_000, 400_000), strict=False))
    spec = PlanSpec(
        length=131_072,
        tokens=131_072 * 20_000,
        components=components,
        transition=Transition(tokens=131_072 * 20_000, previous=previous),
    )
    quotas = Quotas(spec)
    expected = [windows(quotas, component, 20_000, 131_072) for component in range(3)]
    asked: list[int] = []
    exact = Quotas.reach

    def reach(self: Quotas, component: int, target: int, length: int) -> int | None:
        asked.append(target)
        return exact(self, component, target, length)

    monkeypatch.setattr(Quotas, "reach", reach)
    for component, (releases, dues) in enumerate(expected):
        again = windows(quotas, component, 20_000, 131_072)
        assert np.array_equal(again[0], releases)
        assert np.array_equal(again[1], dues)
    assert len(asked) < 20  # the ends of the ramp, where a quota is a whole number of sequences


def test_whole_cycles_meet_their_weights_exactly() -> None:
    components = tuple(
        Component(name=name, sources=(name,), weight=weight)
        for name, weight in zip(NAMES, (30, 35, 35), strict=False)
    )
    spec = PlanSpec(length=8, tokens=8 * 2000, components=components)
    drawn = interleave(Quotas(spec), 3, 2000, 8)
    assert np.array_equal(np.bincount(drawn[:20]), [6, 7, 7])
    assert np.array_equal(drawn, np.tile(drawn[:20], 100))


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(*[st.integers(0, 10**15)] * 4).filter(lambda w: w[0] + w[1] and w[2] + w[3]),
    st.integers(1, 1 << 20),
    st.integers(1, 10**15),
    st.floats(0, 1),
)
@example((0, 1, 1, 0), 1, 10**15, 1 - 1e-12)  # where floats alone are off
@example((0, 1, 1, 0), 7, 10**15, 1.0)
def test_where_a_quota_is_reached_is_exact_at_any_size(
    weights: tuple[int, ...], length: int, ramp: int, part: float
) -> None:
    components = tuple(
        Component(name=name, sources=(name,), weight=weight)
        for name, weight in zip(NAMES, weights[:2], strict=False)
    )
    previous = dict(zip(NAMES, weights[2:], strict=False))
    spec = PlanSpec(
        length=length,
        tokens=ramp + length,
        components=components,
        transition=Transition(tokens=ramp, previous=previous),
    )
    quotas = Quotas(spec)
    for component in range(2):
        whole = quotas.at(component, quotas.end)
        target = 1 + int(Fraction(part) * (whole - 1))
        found = quotas.reach(component, target, length)
        if whole < target:
            assert found is None
            continue
        assert found is not None
        assert quotas.at(component, found * length) >= target
        assert quotas.at(component, (found - 1) * length) < target
