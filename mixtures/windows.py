"""From when each sequence of a component may be drawn, and by when it is due: all of them at once.

What `Quotas.reach` says of one, in compiled passes over a phase of the stage; where these cannot
say for certain, `Quotas.reach` is asked.
"""

from __future__ import annotations

from math import gcd

import numpy as np
import numpy.typing as npt

from kernels.crossings import EXACT, UNKNOWN, line_crossings, parabola_crossings
from mixtures.quotas import Phase, Quotas

_FITS = 1 << 62
"""Integers that a compiled pass holds are below."""


def windows(
    quotas: Quotas, component: int, sequences: int, length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The windows of a component's sequences, in prefixes of the stage.

    Parameters
    ----------
    sequences : of the stage
    length : tokens of a sequence

    Returns
    -------
    releases : int64 array [n]
        The prefix from which the j-th may come: its quota exceeds j sequences.
    dues : int64 array [n]
        The prefix by which it is due: its quota reaches j + 1. ``sequences + 1``, behind all that
        are due in the stage, where the stage ends before.
    """
    whole = quotas.unit * length
    releases = _reached(quotas, component, 1, length)
    dues = np.full(len(releases), sequences + 1, np.int64)
    reached = _reached(quotas, component, whole, length)
    dues[: len(reached)] = reached
    return releases, dues


def _reached(quotas: Quotas, component: int, over: int, length: int) -> npt.NDArray[np.int64]:
    """``quotas.reach(component, j · whole + over, length)`` for each j that has one.

    ``whole`` is a sequence; ``over`` is from 1 to ``whole``.
    """
    whole = quotas.unit * length
    found = [np.zeros(0, np.int64)]
    first = 0
    for phase in quotas.phases:
        last = (phase.at(component, phase.stop) - over) // whole + 1
        if last <= first:
            continue
        reached = np.full(last - first, UNKNOWN, np.int64)
        if not phase.quadratic[component]:
            _along_line(reached, quotas, phase, component, first, over, length)
        elif phase.stop < EXACT:
            _along_parabola(reached, quotas, phase, component, first, over, length)
        for i in np.flatnonzero(reached == UNKNOWN).tolist():
            exact = quotas.reach(component, (first + i) * whole + over, length)
            assert exact is not None, "the phase's end reaches it"
            reached[i] = exact
        found.append(reached)
        first = last
    return np.concatenate(found)


def _along_line(
    reached: npt.NDArray[np.int64],
    quotas: Quotas,
    phase: Phase,
    component: int,
    first: int,
    over: int,
    length: int,
) -> None:
    """Where the share is constant: ⌈(j whole + over - base + start linear) / (linear length)⌉."""
    linear = phase.linear[component]
    a, size = quotas.unit * length, linear * length
    v = first * a + over - phase.base[component] + phase.start * linear
    # A factor of both divides the rest too, rounded up: the quotient is rounded up anyway.
    factor = gcd(a, size)
    a, size, v = a // factor, size // factor, -(-v // factor)
    begin = -(-v // size)
    if max(size, a // size, begin) < _FITS:
        line_crossings(reached, begin, begin * size - v, a // size, a % size, size)


def _along_parabola(
    reached: npt.NDArray[np.int64],
    quotas: Quotas,
    phase: Phase,
    component: int,
    first: int,
    over: int,
    length: int,
) -> None:
    """Where the share changes; leaves `UNKNOWN` what floats cannot tell."""
    unit = quotas.unit
    tokens, rest = divmod(over, unit)
    before, less = divmod(phase.base[component] - rest, unit)
    height = first * length + tokens - before
    parabola_crossings(
        reached,
        height,
        less / unit,
        phase.linear[component] / unit,
        phase.quadratic[component] / unit,
        phase.start,
        length,
        -(-phase.start // length),
        -(-phase.stop // length),
    )
