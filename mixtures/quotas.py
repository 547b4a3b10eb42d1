"""How many tokens of each component are due at every point of a stage: exact integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mixtures.spec import PlanSpec


@dataclass(frozen=True)
class Phase:
    """Tokens ``start`` to ``stop``, over which shares go linearly from one mixture to another.

    The quota of component c at ``start + x`` is
    ``(base[c] + linear[c] x + quadratic[c] x²) / unit``: the integral of its share.
    """

    start: int
    stop: int
    base: tuple[int, ...]
    linear: tuple[int, ...]
    quadratic: tuple[int, ...]

    def at(self, component: int, token: int) -> int:
        """``unit`` times the quota of a component in the first ``token`` tokens."""
        x = token - self.start
        return self.base[component] + (self.linear[component] + self.quadratic[component] * x) * x


class Quotas:
    """The cumulative quota of each component, as a function of the tokens of the stage.

    ``at`` is ``unit`` times the quota: an integer without any rounding, so that every machine
    compiles the same plan. ``phases`` follow each other from token 0 to ``end``.
    """

    def __init__(self, spec: PlanSpec) -> None:
        self.end = spec.sequences * spec.length
        pieces = mixture_pieces(spec, self.end)
        self.unit = math.lcm(
            *(
                sum(a) * sum(b) * 2 * (stop - start) if a != b else sum(a)
                for start, stop, a, b in pieces
            )
        )
        phases: list[Phase] = []
        base = (0,) * len(spec.components)
        for start, stop, a, b in pieces:
            phase = self._phase(start, stop, a, b, base)
            phases.append(phase)
            base = tuple(phase.at(c, stop) for c in range(len(base)))
        self.phases = tuple(phases)

    def _phase(
        self, start: int, stop: int, a: Sequence[int], b: Sequence[int], base: tuple[int, ...]
    ) -> Phase:
        total_a, total_b, twice = sum(a), sum(b), 2 * (stop - start)
        linear = tuple(weight * self.unit // total_a for weight in a)
        if tuple(a) == tuple(b):
            quadratic = (0,) * len(base)
        else:
            part = self.unit // (total_a * total_b * twice)
            quadratic = tuple(
                (end * total_a - begin * total_b) * part for begin, end in zip(a, b, strict=True)
            )
        return Phase(start, stop, base, linear, quadratic)

    def at(self, component: int, token: int) -> int:
        """``unit`` times the quota of a component in the first ``token`` tokens."""
        phase = next((p for p in self.phases if token <= p.stop), self.phases[-1])
        return phase.at(component, token)

    def reach(self, component: int, target: int, length: int) -> int | None:
        """The least n with ``at(component, n * length) >= target``; None when none in the stage."""
        for phase in self.phases:
            if phase.at(component, phase.stop) >= target:
                return self._reach_in(phase, component, target, length)
        return None

    def _reach_in(self, phase: Phase, component: int, target: int, length: int) -> int:
        linear = phase.linear[component]
        missing = target - phase.base[component]
        if missing <= 0:
            return -(-phase.start // length)
        if not phase.quadratic[component]:
            return -(-(phase.start * linear + missing) // (linear * length))
        low, high = -(-phase.start // length), -(-phase.stop // length)
        # A float says where to look first; the answer is found by exact comparisons.
        guess = int((phase.start + _root(phase, component, missing, self.unit)) // length)
        width = 1
        while low < high:
            middle = min(max(guess, low), high - 1)
            if self.at(component, middle * length) >= target:
                high = middle
                guess -= width
            else:
                low = middle + 1
                guess += width
            width *= 2
            if not low <= guess < high:
                guess = (low + high) // 2
        return low


def _root(phase: Phase, component: int, missing: int, unit: int) -> float:
    """About the x with ``(linear + quadratic x) x = missing``, within the phase."""
    linear, quadratic = phase.linear[component] / unit, phase.quadratic[component] / unit
    wanted = missing / unit
    slope = linear + math.sqrt(max(0.0, linear * linear + 4 * quadratic * wanted))
    whole = phase.stop - phase.start
    return min(2 * wanted / slope, whole) if slope else whole


def mixture_pieces(
    spec: PlanSpec, end: int
) -> list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
    """(start, stop, weights at start, weights at stop) of the stage's phases, none empty."""
    ramp = 0 if spec.transition is None else min(spec.transition.tokens, end)
    late = end if spec.late is None else min(spec.late.start, end)
    marks = sorted({0, ramp, late, end})
    found = []
    for start, stop in pairwise(marks):
        weights = spec.weights
        if spec.late is not None and start >= late:
            weights = spec.weights_of(spec.late.weights)
        if spec.transition is not None and stop <= ramp:
            previous = spec.weights_of(spec.transition.previous)
            whole = spec.transition.tokens
            if stop < whole:
                # The budget ends before the transition does: it gets as far as it gets.
                weights = _between(previous, weights, stop, whole)
            found.append((start, stop, previous, weights))
        else:
            found.append((start, stop, weights, weights))
    return found


def _between(a: tuple[int, ...], b: tuple[int, ...], part: int, whole: int) -> tuple[int, ...]:
    """Integer weights whose shares lie ``part / whole`` of the way from those of ``a`` to ``b``."""
    total_a, total_b = sum(a), sum(b)
    return tuple(
        x * total_b * (whole - part) + y * total_a * part for x, y in zip(a, b, strict=True)
    )
