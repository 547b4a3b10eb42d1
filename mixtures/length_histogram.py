"""How well pieces of given lengths can be packed at best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STEPS = 4096
"""Lengths are told apart to this part of a sequence."""


class LengthHistogram:
    """Counts of pieces and their tokens by length.

    Parameters
    ----------
    length : tokens of a sequence; no piece is longer
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._edges = np.unique(np.arange(STEPS + 1) * length // STEPS)
        self._counts = np.zeros(len(self._edges), np.int64)
        self._tokens = np.zeros(len(self._edges), np.int64)

    def add(self, sizes: npt.NDArray[np.int64]) -> None:
        """Count pieces."""
        steps = np.searchsorted(self._edges, sizes, side="right") - 1
        self._counts += np.bincount(steps, minlength=len(self._edges))
        # Below 2**53 in one call, so floats are exact.
        self._tokens += np.bincount(steps, sizes, len(self._edges)).astype(np.int64)

    def least_sequences(self) -> int:
        """No packing has fewer sequences than this.

        The bound L2 of Martello and Toth (Lower bounds and reduction procedures for the bin packing
        problem, Discrete Applied Mathematics 28, 1990), over the thresholds of the histogram: where
        pieces shorter than k are left out, those longer than L - k share a sequence with none,
        those longer than L/2 not with each other, and the others at best fill what these leave.
        """
        length, edges = self.length, self._edges
        counts = np.concatenate([[0], np.cumsum(self._counts)])
        tokens = np.concatenate([[0], np.cumsum(self._tokens)])
        low = np.flatnonzero(2 * edges <= length)
        # Pieces from edges[j] on are those from row j on. Longer than L - k, rounded up to an edge,
        # counts no piece that is not.
        alone = np.searchsorted(edges, length - edges[low], side="right")
        half = int(np.searchsorted(edges, length // 2, side="right"))
        alone = np.maximum(alone, half)
        middle = counts[alone] - counts[half]
        room = middle * length - (tokens[alone] - tokens[half])
        rest = -(-(tokens[half] - tokens[low] - room) // length)
        bounds = counts[-1] - counts[alone] + middle + np.maximum(rest, 0)
        return int(bounds.max())

    def best_fill(self) -> float:
        """No packing of these pieces has a larger share of its places filled."""
        least = self.least_sequences()
        return float(self._tokens.sum() / (least * self.length)) if least else 1.0
