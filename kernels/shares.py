"""Which task to do next so that each gets its share of the work, jobs being of different sizes.

A task is owed its share of every job that is done, whosever it is. It may begin its next job when
it is owed as much as it got; of those that may, the one goes first that will soonest be owed that
job in full, at the present shares: earliest deadline first without preemption. While shares do not
change no task is ever more than the largest job from what it is owed: it begins no job before its
time, and at its due time at most one job with a later deadline is under way (Jeffay, Stanat and
Martel, On non-preemptive scheduling of periodic and sporadic tasks, RTSS 1991).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]


@njit(cache=True, nogil=True, boundscheck=False)
def follow_shares(
    sizes: I64,
    starts: I64,
    marks: I64,
    before: I64,
    after: I64,
    largest: int,
    chosen: NDArray[np.uint16],
) -> int:
    """Fill ``chosen`` with the task whose job is done at each of the times 0, 1, ….

    Parameters
    ----------
    sizes : int64 [jobs], each from 1 to ``largest``
    starts : int64 [tasks + 1]
        The jobs of task t are ``starts[t]`` to ``starts[t + 1]``, done in their order.
    marks : int64 [phases + 1]
        Where phases begin and end, in half times; below 2**31.
    before, after : int64 [phases, tasks + 1]
        The sums of the shares of the tasks before each, at the beginning and at the end of each
        phase: from 0 to the same power of two. Shares go linearly over a phase, and the share of a
        time is that at its middle. ``largest`` times that power is below 2**61.

    Returns
    -------
    How many times were filled: fewer than asked where the next task has no job left.
    """
    tasks, phases = len(starts) - 1, len(marks) - 1
    whole = before[0, tasks]
    position = starts[:tasks].copy()
    owed = np.zeros(tasks, np.int64)
    share = np.empty(tasks, np.int64)
    phase = 0
    for time in range(len(chosen)):
        middle = 2 * time + 1
        while phase < phases - 1 and middle >= marks[phase + 1]:
            phase += 1
        span = marks[phase + 1] - marks[phase]
        x = min(middle - marks[phase], span)
        below = 0
        for task in range(tasks):
            # The floor of the line between the two: a product of all would not fit.
            step = after[phase, task + 1] - before[phase, task + 1]
            above = before[phase, task + 1] + step // span * x + step % span * x // span
            share[task] = above - below
            below = above
        best, soonest = -1, np.inf
        for task in range(tasks):
            if owed[task] < 0 or (owed[task] == 0 and share[task] == 0):
                continue
            left = position[task] < starts[task + 1]
            size = sizes[position[task]] if left else largest
            due = np.inf
            if share[task] > 0:
                due = float(size * whole - owed[task]) / float(share[task])
            if best < 0 or due < soonest:
                best, soonest = task, due
        if position[best] == starts[best + 1]:
            return time
        size = sizes[position[best]]
        for task in range(tasks):
            owed[task] += size * share[task]
        owed[best] -= size * whole
        position[best] += 1
        chosen[time] = best
    return len(chosen)
