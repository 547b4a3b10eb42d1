"""Earliest deadline first, against a plain search; crossings of lines and parabolas, exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.crossings import UNKNOWN, line_crossings, parabola_crossings
from kernels.deadlines import earliest_deadline_first

JOBS = st.lists(
    st.lists(st.tuples(st.integers(-2, 40), st.integers(0, 60)), max_size=12),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(JOBS, st.integers(0, 50))
def test_the_job_due_first_is_done(tasks: list[list[tuple[int, int]]], times: int) -> None:
    done = [0] * len(tasks)
    expected: list[int] = []
    for time in range(1, times + 1):
        ready = [
            (tasks[t][done[t]][1], t)
            for t in range(len(tasks))
            if done[t] < len(tasks[t]) and tasks[t][done[t]][0] <= time
        ]
        if not ready:
            break
        expected.append(min(ready)[1])
        done[expected[-1]] += 1
    jobs = np.array([job for task in tasks for job in task], np.int64).reshape(-1, 2)
    starts = np.cumsum([0, *map(len, tasks)])
    chosen = np.full(times, 9, np.uint16)
    releases, dues = (np.ascontiguousarray(column) for column in jobs.T)
    assert earliest_deadline_first(releases, dues, starts, chosen) == len(expected)
    assert chosen[: len(expected)].tolist() == expected


@settings(max_examples=200, deadline=None)
@given(
    st.integers(-(10**20), 10**20),
    st.integers(0, 10**20),
    st.integers(1, (1 << 62) - 1),
    st.integers(1, 50),
)
def test_line_crossings_are_quotients_rounded_up(v: int, a: int, size: int, count: int) -> None:
    first = -(-v // size)
    whole, part = divmod(a, size)
    if max(abs(first), abs(first + count * (whole + 1))) >= 1 << 63:
        return
    found = np.zeros(count, np.int64)
    line_crossings(found, first, first * size - v, whole, part, size)
    assert found.tolist() == [-(-(v + i * a) // size) for i in range(count)]


@settings(max_examples=300, deadline=None)
@given(
    st.fractions(0, 1, max_denominator=10**9),
    st.fractions(0, 1, max_denominator=10**9),
    st.integers(1, 10**12),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.data(),
)
def test_parabola_crossings_are_right_or_unknown(
    begin: Fraction, end: Fraction, ramp: int, start: int, length: int, data: st.DataObject
) -> None:
    """A share goes from ``begin`` to ``end`` over ``ramp`` tokens."""
    quadratic = (end - begin) / (2 * ramp)

    def at(x: int) -> Fraction:
        return (begin + quadratic * x) * x

    whole = at(ramp)
    if whole <= 0:
        return
    # As many heights as there are, from any on, up to the ramp's end.
    height = data.draw(st.integers(1, max(1, int(whole))))
    less = data.draw(st.fractions(0, Fraction(999, 1000), max_denominator=10**6))
    heights = [height - less + i * length for i in range(20)]
    heights = [one for one in heights if 0 < one <= whole]
    low, high = -(-start // length), -(-(start + ramp) // length)
    found = np.zeros(len(heights), np.int64)
    parabola_crossings(
        found, height, float(less), float(begin), float(quadratic), start, length, low, high
    )
    for one, n in zip(heights, found.tolist(), strict=True):
        if n == UNKNOWN:
            continue
        assert low <= n <= high
        assert n == high or at(n * length - start) >= one
        assert n == low or at((n - 1) * length - start) < one
