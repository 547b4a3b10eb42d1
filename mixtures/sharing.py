"""Which component each sequence is drawn from, where sequences hold different numbers of tokens.

The share of a component in a sequence is the one in force at its middle. Of every sequence that is
drawn each component is owed its share of the tokens, padding not counted; what it got stays within
one sequence of what it is owed while shares do not change (`kernels.shares`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kernels.shares import follow_shares
from mixtures.quotas import mixture_pieces
from mixtures.spec import PlanSpec

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shares:
    """The shares of components over a plan, in whole numbers.

    Attributes
    ----------
    marks : int64 [phases + 1]
        Where phases begin and end, in half sequences.
    before, after : int64 [phases, components + 1]
        At the beginning and at the end of each phase, the shares of the components before each,
        summed, as parts of ``whole``.
    whole : int
        A power of two, as large as sums of 64 bits allow for sequences of the plan's length: shares
        are rounded to it.
    """

    marks: I64
    before: I64
    after: I64
    whole: int

    @classmethod
    def of(cls, spec: PlanSpec) -> Shares:
        """Those of a specification."""
        whole = 1 << (60 - spec.length.bit_length())
        marks, before, after = [0], [], []
        for _, stop, a, b in mixture_pieces(spec, spec.sequences * spec.length):
            mark = (4 * stop + spec.length) // (2 * spec.length)
            if mark > marks[-1]:  # shorter than what tells sequences apart: no middle is in it
                marks.append(mark)
                before.append(_sums(a, whole))
                after.append(_sums(b, whole))
        return cls(
            np.array(marks, np.int64), np.array(before, np.int64), np.array(after, np.int64), whole
        )

    def at(self, sequence: int) -> list[int]:
        """The share of each component in a sequence, as parts of ``whole``."""
        middle = 2 * sequence + 1
        phase = min(int(np.searchsorted(self.marks, middle, side="right")), len(self.before)) - 1
        start, stop = self.marks[phase : phase + 2].tolist()
        x = min(middle, stop) - start
        sums = [
            a + (b - a) * x // (stop - start)
            for a, b in zip(self.before[phase].tolist(), self.after[phase].tolist(), strict=True)
        ]
        return [above - below for below, above in pairwise(sums)]


def draw(
    shares: Shares, fills: Sequence[I64], sequences: int, length: int
) -> npt.NDArray[np.uint16]:
    """The component of each sequence; fewer than asked where one has no sequence left.

    Parameters
    ----------
    fills : of each component, the tokens of its sequences in order
    sequences, length : how many are asked, and the tokens of a full one

    Returns
    -------
    uint16 array of at most ``sequences``
    """
    chosen = np.zeros(sequences, np.uint16)
    starts = np.cumsum([0, *(len(found) for found in fills)])
    sizes = np.concatenate([*fills, np.zeros(1, np.int64)])
    filled = follow_shares(sizes, starts, shares.marks, shares.before, shares.after, length, chosen)
    return chosen[:filled]


def draw_plainly(
    shares: Shares, fills: Sequence[I64], sequences: int, length: int
) -> npt.NDArray[np.uint16]:
    """What `draw` computes, as the definition reads."""
    chosen: list[int] = []
    coming = [found.tolist() for found in fills]
    drawn = [0] * len(fills)
    owed = [0] * len(fills)

    def due(component: int, share: int) -> float:
        """The tokens until it is owed its next sequence in full."""
        size = coming[component][drawn[component]] if _has_next(component) else length
        missing = size * shares.whole - owed[component]
        return float(missing) / float(share) if share else float("inf")

    def _has_next(component: int) -> bool:
        return drawn[component] < len(coming[component])

    for sequence in range(sequences):
        share = shares.at(sequence)
        able = [c for c in range(len(fills)) if owed[c] > 0 or (owed[c] == 0 and share[c] > 0)]
        best = min(able, key=lambda c: (due(c, share[c]), c))
        if not _has_next(best):
            break
        size = coming[best][drawn[best]]
        owed = [have + size * part for have, part in zip(owed, share, strict=True)]
        owed[best] -= size * shares.whole
        drawn[best] += 1
        chosen.append(best)
    return np.array(chosen, np.uint16)


def _sums(weights: Sequence[int], whole: int) -> list[int]:
    total, before = sum(weights), 0
    sums = [0]
    for weight in weights:
        before += weight
        sums.append(before * whole // total)
    return sums
