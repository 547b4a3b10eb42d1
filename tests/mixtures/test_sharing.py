"""Sequences of different fills: quotas in tokens, against exact fractions and the plain form."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtures.sharing import Shares, draw, draw_plainly
from mixtures.spec import Component, LateMixture, PlanSpec, Transition

COMPONENTS = 4


@st.composite
def specs(draw: st.DrawFn, changing: bool) -> PlanSpec:
    length = draw(st.sampled_from([1, 10, 4096, 1 << 31]))
    sequences = draw(st.integers(1, 80))
    weights = st.lists(
        st.one_of(st.integers(0, 5), st.integers(0, 10**12)),
        min_size=COMPONENTS,
        max_size=COMPONENTS,
    ).filter(any)
    names = [f"c{i}" for i in range(COMPONENTS)]
    transition = late = None
    if changing:
        ramp = draw(st.integers(1, sequences * length))
        transition = Transition(tokens=ramp, previous=dict(zip(names, draw(weights), strict=True)))
        late = LateMixture(
            start=draw(st.integers(ramp, 2 * sequences * length)),
            weights=dict(zip(names, draw(weights), strict=True)),
        )
    return PlanSpec(
        length=length,
        tokens=sequences * length,
        packing="whole",
        components=tuple(
            Component(name=name, sources=(name,), weight=weight)
            for name, weight in zip(names, draw(weights), strict=True)
        ),
        transition=transition,
        late=late,
    )


def fills_of(spec: PlanSpec, seed: int) -> list[np.ndarray]:
    """Sequences of each component, of fills as different as they can be."""
    generator = np.random.default_rng(seed)
    low = generator.integers(1, spec.length, COMPONENTS, endpoint=True)
    return [generator.integers(least, spec.length, spec.sequences, endpoint=True) for least in low]


@settings(max_examples=200, deadline=None)
@given(specs(changing=True), st.integers(0, 2**32), st.booleans())
def test_the_compiled_schedule_is_the_plain_one(spec: PlanSpec, seed: int, short: bool) -> None:
    shares = Shares.of(spec)
    fills = fills_of(spec, seed)
    if short:
        fills[seed % COMPONENTS] = fills[seed % COMPONENTS][: seed % 5]
    found = draw(shares, fills, spec.sequences, spec.length)
    assert found.tolist() == draw_plainly(shares, fills, spec.sequences, spec.length).tolist()
    assert short or len(found) == spec.sequences


@settings(max_examples=200, deadline=None)
@given(specs(changing=False), st.integers(0, 2**32))
def test_every_prefix_is_at_most_a_sequence_from_its_shares(spec: PlanSpec, seed: int) -> None:
    fills = fills_of(spec, seed)
    chosen = draw(Shares.of(spec), fills, spec.sequences, spec.length)
    got, place = [0] * COMPONENTS, [0] * COMPONENTS
    for component in chosen.tolist():
        got[component] += int(fills[component][place[component]])
        place[component] += 1
        for weight, tokens in zip(spec.weights, got, strict=True):
            exact = Fraction(weight * sum(got), sum(spec.weights))
            # Shares are rounded to a part in 2**29 of a sequence or finer.
            assert abs(tokens - exact) <= spec.length * (1 + Fraction(len(chosen), 1 << 28))
            assert weight or not tokens


@settings(max_examples=200, deadline=None)
@given(specs(changing=True), st.integers(0, 2**32))
def test_shares_that_change_are_followed_too(spec: PlanSpec, seed: int) -> None:
    fills = fills_of(spec, seed)
    chosen = draw(Shares.of(spec), fills, spec.sequences, spec.length)
    got, place = [0] * COMPONENTS, [0] * COMPONENTS
    owed = [Fraction(0)] * COMPONENTS
    for sequence, component in enumerate(chosen.tolist()):
        size = int(fills[component][place[component]])
        got[component] += size
        place[component] += 1
        share = share_at(spec, Fraction(2 * sequence + 1, 2) * spec.length)
        owed = [have + size * part for have, part in zip(owed, share, strict=True)]
        for tokens, exact in zip(got, owed, strict=True):
            assert abs(tokens - exact) <= 2 * spec.length


def share_at(spec: PlanSpec, token: Fraction) -> list[Fraction]:
    """The exact share of each component at a token of the stage."""
    own = parts(spec.weights)
    assert spec.transition is not None
    assert spec.late is not None
    if token < spec.transition.tokens:
        before = parts(spec.weights_of(spec.transition.previous))
        way = token / spec.transition.tokens
        return [a + (b - a) * way for a, b in zip(before, own, strict=True)]
    if token >= spec.late.start:
        return parts(spec.weights_of(spec.late.weights))
    return own


def parts(weights: tuple[int, ...]) -> list[Fraction]:
    return [Fraction(weight, sum(weights)) for weight in weights]
