"""Packs a component's documents whole: best fit, window after window, in the order of its epochs.

A window is a fixed number of sequences, and the next documents in order that hold as many tokens.
They are placed by best fit, the longest first; what does not fit opens the next window, before all
others. So a document waits for one window, or for more where others of its length waited longer,
and none is lost. An epoch's last window takes all that is left of it, but for the documents of the
emptiest sequence: they are the first of the next epoch.

Sequences of a window come in the order of the first document placed in each, so that long documents
do not come first; documents of a sequence come in the epoch's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.packing import best_fit
from mixtures.length_histogram import LengthHistogram

WINDOW = 256
"""Sequences of a window."""

I64 = npt.NDArray[np.int64]
_PIECE = np.dtype([("document", "i8"), ("start", "i8"), ("size", "i8"), ("place", "i8")])
Pieces = npt.NDArray[np.void]


@dataclass(frozen=True)
class Packed:
    """Sequences in their order.

    Attributes
    ----------
    documents, starts : int64 [pieces]
        Of each piece its document, and the token of it that the piece begins at.
    counts, fills : int64 [sequences]
        Pieces and tokens of each sequence.
    """

    documents: I64
    starts: I64
    counts: I64
    fills: I64


class Packer:
    """Takes the documents of a component in order; yields its sequences.

    Parameters
    ----------
    length : tokens of a sequence
    window : sequences of a window

    Attributes
    ----------
    histogram : LengthHistogram
        Of the pieces in all sequences so far.
    """

    def __init__(self, length: int, window: int = WINDOW) -> None:
        self.length = length
        self.window = window
        self.histogram = LengthHistogram(length)
        self._waiting = np.zeros(0, _PIECE)  # did not fit: in the order in which they were placed
        self._coming = np.zeros(0, _PIECE)
        self._seen = 0

    def add(self, documents: I64, lengths: I64) -> Iterator[Packed]:
        """Take documents of the present epoch and their tokens, at least one each."""
        new = self._cut(documents, lengths)
        coming = np.concatenate([self._coming, new]) if len(self._coming) else new
        ends = np.cumsum(coming["size"])
        begin, taken, wanted = 0, 0, self.window * self.length
        while True:
            missing = wanted - int(self._waiting["size"].sum())
            stop = begin
            if missing > 0:
                stop = int(np.searchsorted(ends, taken + missing)) + 1
            if stop > len(coming):
                break
            yield self._packed(*self._place(coming[begin:stop]))
            begin, taken = stop, int(ends[stop - 1]) if stop else 0
        self._coming = coming[begin:]

    def end_epoch(self, *, last: bool) -> Iterator[Packed]:
        """Pack what is left of the epoch; the emptiest sequence waits for the next one."""
        coming, self._coming = self._coming, self._coming[:0]
        while len(coming) or len(self._waiting):
            pieces, placed = self._place(coming)
            coming = coming[:0]
            done = not len(self._waiting)
            if done and not last:
                pieces, placed = self._hold_back(pieces, placed)
            if len(pieces):
                yield self._packed(pieces, placed)
            if done:
                return

    def _cut(self, documents: I64, lengths: I64) -> Pieces:
        """Documents as pieces: one each, or of those that are too long as many as it takes."""
        counts = -(-lengths // self.length)
        pieces = np.empty(int(counts.sum()), _PIECE)
        pieces["document"] = np.repeat(documents, counts)
        firsts = np.cumsum(counts) - counts
        nth = np.arange(len(pieces)) - np.repeat(firsts, counts)
        pieces["start"] = nth * self.length
        pieces["size"] = np.minimum(np.repeat(lengths, counts) - pieces["start"], self.length)
        pieces["place"] = self._seen + np.arange(len(pieces))
        self._seen += len(pieces)
        return pieces

    def _place(self, coming: Pieces) -> tuple[Pieces, npt.NDArray[np.int32]]:
        """A window of what waits and what comes: the pieces that fit, and the sequence of each."""
        # Stable: pieces of equal length stay in the epoch's order.
        longest_first = np.argsort(-coming["size"], kind="stable")
        pieces = np.concatenate([self._waiting, coming[longest_first]])
        placed = np.empty(len(pieces), np.int32)
        best_fit(np.ascontiguousarray(pieces["size"]), self.window, self.length, placed)
        fits = placed >= 0
        self._waiting = pieces[~fits]
        return pieces[fits], placed[fits]

    def _hold_back(
        self, pieces: Pieces, placed: npt.NDArray[np.int32]
    ) -> tuple[Pieces, npt.NDArray[np.int32]]:
        """Let the pieces of the emptiest sequence wait, unless it is full; return the others."""
        fills = np.bincount(placed, pieces["size"])
        fills[fills == 0] = self.length
        emptiest = int(np.argmin(fills))
        others = (placed != emptiest) | (fills[emptiest] == self.length)
        self._waiting = pieces[~others]
        return pieces[others], placed[others]

    def _packed(self, pieces: Pieces, placed: npt.NDArray[np.int32]) -> Packed:
        """Sequences in their order, of pieces in the order in which they were placed."""
        used, first = np.unique(placed, return_index=True)
        rank = np.empty(self.window, np.int64)
        rank[used[np.argsort(pieces["place"][first])]] = np.arange(len(used))
        order = np.lexsort((pieces["place"], rank[placed]))
        pieces, ranks = pieces[order], rank[placed][order]
        self.histogram.add(pieces["size"])
        return Packed(
            documents=pieces["document"],
            starts=pieces["start"],
            counts=np.bincount(ranks, minlength=len(used)),
            fills=np.bincount(ranks, pieces["size"], len(used)).astype(np.int64),
        )
