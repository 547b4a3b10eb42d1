"""Best-fit packing: each item goes where the least room is left after it.

Johnson, Demers, Ullman, Garey and Graham, Worst-case performance bounds for simple one-dimensional
packing algorithms, SIAM J. Computing 3(4), 1974.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]

NOWHERE = -1
"""Where an item is put that fits nowhere."""


@njit(cache=True, nogil=True, boundscheck=False)
def best_fit(sizes: I64, bins: int, room: int, placed: NDArray[np.int32]) -> None:
    """Put items one after the other into the bin with the least room that they fit into.

    Of bins with equal room the lowest number is taken.

    Parameters
    ----------
    sizes : int64 [items], each from 1 to ``room``
    bins, room : how many bins there are, and the room of each; ``bins * room`` is below 2**62
    placed : int32 [items], filled with each item's bin, ``NOWHERE`` where none has room
    """
    # Bins by room, then number: one key holds both.
    keys = np.empty(bins, np.int64)
    for number in range(bins):
        keys[number] = room * bins + number
    full = 0  # keys before it are of bins without any room
    for item in range(len(sizes)):
        wanted = sizes[item] * bins
        low, high = full, bins
        while low < high:
            middle = (low + high) // 2
            if keys[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        if low == bins:
            placed[item] = NOWHERE
            continue
        placed[item] = keys[low] % bins
        key = keys[low] - wanted
        while low > full and keys[low - 1] > key:
            keys[low] = keys[low - 1]
            low -= 1
        keys[low] = key
        while full < bins and keys[full] < bins:
            full += 1


def best_fit_plainly(sizes: I64, bins: int, room: int) -> NDArray[np.int32]:
    """What `best_fit` fills in, as the definition reads."""
    left = [room] * bins
    placed = np.full(len(sizes), NOWHERE, np.int32)
    for item, size in enumerate(sizes.tolist()):
        fitting = [number for number in range(bins) if left[number] >= size]
        if fitting:
            placed[item] = min(fitting, key=lambda number: (left[number], number))
            left[placed[item]] -= size
    return placed
