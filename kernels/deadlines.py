"""Earliest deadline first: one job at a time, the one that is due first among those that may start.

Jobs of a task are done in their order. Liu and Layland, Scheduling algorithms for multiprogramming
in a hard-real-time environment, J. ACM 20(1), 1973.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]


@njit(nogil=True, boundscheck=False)
def _push(heap: I64, size: int, key: int) -> None:
    # Into heap[:size], which has room for one more; the smallest key is first.
    i = size
    while i > 0:
        parent = (i - 1) // 2
        if heap[parent] <= key:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = key


@njit(nogil=True, boundscheck=False)
def _pop(heap: I64, size: int) -> int:
    # The smallest key of heap[:size]; heap[: size - 1] stays.
    smallest, key = heap[0], heap[size - 1]
    i, child, last = 0, 1, size - 1
    while child < last:
        if child + 1 < last and heap[child + 1] < heap[child]:
            child += 1
        if key <= heap[child]:
            break
        heap[i] = heap[child]
        i = child
        child = 2 * i + 1
    heap[i] = key
    return int(smallest)


@njit(cache=True, nogil=True, boundscheck=False)
def earliest_deadline_first(
    releases: I64, dues: I64, starts: I64, chosen: NDArray[np.uint16]
) -> int:
    """Fill ``chosen`` with the task whose job is done at each of the times 1, 2, ….

    ``releases`` and ``dues`` int64[jobs] are the times from which and by which; the jobs of task t
    are ``starts[t]`` to ``starts[t + 1]``. Of jobs due at the same time the lower task's is done.
    Returns how many times were filled: fewer than asked where no job may start.
    """
    tasks, times = len(starts) - 1, len(chosen)
    heap = np.empty(tasks, np.int64)
    size = 0
    position = starts[:tasks].copy()
    # Tasks whose next job may start at a time: a list of each time's, linked.
    heads = np.full(times + 2, -1, np.int32)
    following = np.empty(tasks, np.int32)
    for task in range(tasks):
        if position[task] < starts[task + 1]:
            time = max(releases[position[task]], 1)
            if time <= times:
                following[task] = heads[time]
                heads[time] = task
    for time in range(1, times + 1):
        waiting = heads[time]
        while waiting >= 0:
            _push(heap, size, dues[position[waiting]] * tasks + waiting)
            size += 1
            waiting = following[waiting]
        if size == 0:
            return time - 1
        task = _pop(heap, size) % tasks
        size -= 1
        chosen[time - 1] = task
        position[task] += 1
        if position[task] < starts[task + 1]:
            after = max(releases[position[task]], time + 1)
            if after <= times:
                following[task] = heads[after]
                heads[after] = task
    return times
