"""Where a rising curve first reaches each of many heights, evenly spaced: the least whole n.

Of a line in integers, without rounding. Of a parabola in float64 with a bound on what rounding can
have done: where the sign of a difference is not beyond it, the answer is ``UNKNOWN``, and the
caller computes that one exactly (a floating-point filter: Shewchuk, Adaptive precision
floating-point arithmetic, Discrete & Computational Geometry 18, 1997).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]

UNKNOWN = -1
EXACT = 1 << 53
"""Integers up to here are float64 numbers."""

_ROUNDING = 2.0**-50
"""Eight units of rounding: three coefficients, two products, two sums and a difference have each
one, relative to the sum of the magnitudes that they add."""


@njit(cache=True, nogil=True, boundscheck=False)
def line_crossings(found: I64, first: int, short: int, whole: int, part: int, size: int) -> None:
    """Fill ``found`` int64[n] with ``⌈(v + i a) / size⌉``, where ``a = whole · size + part``.

    ``first`` is ``⌈v / size⌉`` and ``short`` is ``first · size - v``; ``part`` and ``short`` are
    from 0 to ``size - 1``, and ``size`` is below 2**62.
    """
    for i in range(len(found)):
        found[i] = first
        first += whole
        short -= part
        if short < 0:
            short += size
            first += 1


@njit(nogil=True, boundscheck=False)
def _sign(
    n: int,
    height: float,
    linear: float,
    quadratic: float,
    start: int,
    length: int,
    low: int,
    high: int,
) -> int:
    # 1 where the parabola has reached the height at n, -1 where it has not, 0 where rounding hides
    # it.
    if n >= high:
        return 1
    if n < low:
        return -1
    x = float(n * length - start)
    difference = (linear + quadratic * x) * x - height
    bound = _ROUNDING * (abs(linear) * x + abs(quadratic) * x * x + abs(height) + 1.0)
    if difference > bound:
        return 1
    return -1 if difference < -bound else 0


@njit(cache=True, nogil=True, boundscheck=False)
def parabola_crossings(
    found: I64,
    height: int,
    less: float,
    linear: float,
    quadratic: float,
    start: int,
    length: int,
    low: int,
    high: int,
) -> None:
    """Fill ``found`` int64[n] with the least n at which the parabola reaches each height.

    The parabola is ``linear x + quadratic x²`` at ``x = n · length - start``, and does not fall
    from n = ``low`` to ``high``. The i-th height is ``height - less + i · length``, with ``less``
    from 0 to 1; all are above 0, and reached at ``high``. Coefficients and ``less`` are float64's
    nearest to the true ones; integers are below ``EXACT``.
    """
    for i in range(len(found)):
        wanted = float(height + i * length) - less
        slope = linear + math.sqrt(max(0.0, linear * linear + 4.0 * quadratic * wanted))
        n = high
        if slope > 0.0:
            root = 2.0 * wanted / slope
            if root < float(high * length - start):
                n = max(low, min(high, math.ceil((float(start) + root) / length)))
        sign = _sign(n, wanted, linear, quadratic, start, length, low, high)
        while sign < 0:
            n += 1
            sign = _sign(n, wanted, linear, quadratic, start, length, low, high)
        before = 0
        if sign > 0:
            before = _sign(n - 1, wanted, linear, quadratic, start, length, low, high)
            while before > 0:
                n -= 1
                before = _sign(n - 1, wanted, linear, quadratic, start, length, low, high)
        found[i] = n if before < 0 else UNKNOWN
