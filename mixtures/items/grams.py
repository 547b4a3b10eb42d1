"""Hashes of word n-grams of many lengths at once, by the words' hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from kernels.text.minhash import SHINGLE_MULTIPLIER

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(33)


def grams(words: U64, lengths: Sequence[int]) -> Iterator[tuple[int, U64]]:
    """For each length n, ascending: n, and the hash uint64 [len(words) - n + 1] of every n words in
    a row: their polynomial modulo 2**64 with the length in it, mixed."""
    multiplier = np.uint64(SHINGLE_MULTIPLIER)
    wanted = sorted(set(lengths))
    if not wanted or len(words) < wanted[0]:
        return
    rolled = words.copy()
    for n in range(1, wanted[-1] + 1):
        if n > 1:
            if len(words) < n:
                return
            rolled = rolled[:-1]
            rolled *= multiplier
            rolled += words[n - 1 :]
        if n in wanted:
            mixed = (rolled ^ np.uint64(n)) * _MIX
            mixed ^= mixed >> _SHIFT
            yield n, mixed


class GramSet:
    """Hashes that are looked for: a sorted array behind a table of bits that few others pass."""

    def __init__(self, hashes: U64) -> None:
        self.hashes: U64 = np.unique(hashes)
        size = 1 << max(16, int(8 * len(self.hashes)).bit_length())
        self._mask = np.uint64(size - 1)
        self._seen = np.zeros(size, np.bool_)
        self._seen[self.hashes & self._mask] = True

    def find(self, hashes: U64) -> tuple[I64, I64]:
        """Where hashes of the set stand in ``hashes``, ascending, and which of the set they are."""
        maybe = np.flatnonzero(self._seen[hashes & self._mask])
        if not len(self.hashes) or not len(maybe):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        near = np.searchsorted(self.hashes, hashes[maybe]).clip(max=len(self.hashes) - 1)
        there = self.hashes[near] == hashes[maybe]
        return maybe[there], near[there].astype(np.int64)
