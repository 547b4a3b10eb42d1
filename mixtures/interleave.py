"""Which component each sequence is drawn from: quotas turned into a smooth schedule.

The j-th sequence of a component may come once its quota exceeds j sequences and is due when its
quota reaches j + 1. Taking what is due first among what may come (earliest deadline first, Liu and
Layland 1973; the windows are those of proportionate fairness, Baruah et al. 1996) keeps every
component less than one sequence from its quota at every prefix: between any two prefixes a and b,
windows hold at most ⌊Q(b)⌋ - ⌈Q(a)⌉ sequences of a component, in all at most b - a.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from kernels.deadlines import earliest_deadline_first
from mixtures.quotas import Quotas
from mixtures.windows import windows


def interleave(
    quotas: Quotas, components: int, sequences: int, length: int
) -> npt.NDArray[np.uint16]:
    """The component of each sequence.

    Memory: 40 bytes a sequence.

    Parameters
    ----------
    quotas : in tokens
    components, sequences : how many there are
    length : tokens of a sequence

    Returns
    -------
    uint16 array of length ``sequences``
    """
    chosen = np.zeros(sequences, np.uint16)
    if components == 1:
        return chosen
    found = [windows(quotas, component, sequences, length) for component in range(components)]
    starts = np.cumsum([0, *(len(releases) for releases, _ in found)])
    releases, dues = (np.concatenate(one) for one in zip(*found, strict=True))
    del found
    filled = earliest_deadline_first(releases, dues, starts, chosen)
    assert filled == sequences, f"found no sequence that may come at prefix {filled + 1}"
    return chosen


def interleave_plainly(
    quotas: Quotas, components: int, sequences: int, length: int
) -> npt.NDArray[np.uint16]:
    """What `interleave` computes, as the definition reads: one sequence after the other."""
    chosen = np.zeros(sequences, np.uint16)
    step = quotas.unit * length
    done = [0] * components
    waiting: list[tuple[int, int]] = []  # (prefix from which it may come, component)
    ready: list[tuple[int, int]] = []  # (prefix by which it is due, component)

    def enter(component: int) -> None:
        start = quotas.reach(component, done[component] * step + 1, length)
        if start is not None:
            heapq.heappush(waiting, (start, component))

    for component in range(components):
        enter(component)
    for prefix in range(1, sequences + 1):
        while waiting and waiting[0][0] <= prefix:
            _, component = heapq.heappop(waiting)
            due = quotas.reach(component, (done[component] + 1) * step, length)
            # What is not due before the end comes after all that is.
            heapq.heappush(ready, (sequences + 1 if due is None else due, component))
        _, component = heapq.heappop(ready)
        chosen[prefix - 1] = component
        done[component] += 1
        enter(component)
    return chosen
