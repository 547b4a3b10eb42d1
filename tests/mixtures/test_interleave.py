"""Quotas against their integral in fractions; every prefix of a schedule close to its quota."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixtures.interleave import interleave
from mixtures.plan import Component, LateMixture, PlanSpec, Transition
from mixtures.quotas import Quotas

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
def specs(draw: st.DrawFn) -> PlanSpec:
    count = draw(st.integers(1, 6))
    weights = st.lists(st.integers(0, 10**12), min_size=count, max_size=count).filter(any)

    def named() -> dict[str, int]:
        return dict(zip(NAMES, draw(weights), strict=False))

    length, sequences = draw(st.integers(1, 5000)), draw(st.integers(1, 300))
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
