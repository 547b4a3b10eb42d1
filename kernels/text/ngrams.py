"""Repeated word n-grams of a document, exactly: Gopher's nine n-gram counts.

Grams are compared through the grams they consist of, never through a hash alone: an n-gram is the
pair of its two (n-1)-grams, and each (n-1)-gram goes by the place of its first occurrence. A gram
that occurs once cannot be part of a longer one that occurs twice, so each length looks only at
what the length before left over: in ordinary prose little is left after 3-grams. Time is linear
in the number of words whatever the text.

The counts follow Gopher (Rae et al. 2021, A1.1) in datatrove's reading:

* top n-gram: the characters of the most frequent n-gram, words joined by one space, times its
  occurrences (overlapping ones too); of equally frequent ones the first in the text. A document
  in which none repeats counts its first n-gram once.
* duplicate n-grams: from left to right, an n-gram seen before counts its characters (without
  spaces) and is stepped over as a whole; another is remembered, and the next place is one word on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text.spans import clear_table, same_bytes

TOP_GRAMS = (2, 3, 4)
DUPLICATE_GRAMS = (5, 6, 7, 8, 9, 10)

_TOP_FIRST, _TOP_LAST = TOP_GRAMS[0], TOP_GRAMS[-1]
_LONGEST = DUPLICATE_GRAMS[-1]
_PAIR_A = np.uint64(0x9E3779B97F4A7C15)
_PAIR_B = np.uint64(0xC2B2AE3D27D4EB4F)
_U32 = np.uint64(32)


class GramArrays(NamedTuple):
    """Scratch for one document's repeated grams: int32, each of the document's words.

    ``place``, ``gram``: where the repeated grams of one length stand, and the index of the first
    occurrence of each; ``next_place``, ``next_gram``: the same of the next length. ``times``: how
    often, by index of the first occurrence. ``table``: open addressing, int32 of a power of two,
    at least twice the words.
    """

    place: NDArray[np.int32]
    gram: NDArray[np.int32]
    next_place: NDArray[np.int32]
    next_gram: NDArray[np.int32]
    times: NDArray[np.int32]
    table: NDArray[np.int32]


@njit(inline="always")
def new_grams(capacity):  # type: ignore[no-untyped-def]
    """Allocate the scratch for ``capacity`` words."""
    slots = 16
    while slots < 2 * capacity:
        slots *= 2
    return GramArrays(
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.empty(slots, np.int32),
    )


@njit(cache=True, nogil=True, boundscheck=False)
def repeated_words(text, words, n, grams):  # type: ignore[no-untyped-def]
    """Fill ``grams`` with the words that occur twice or more; return how many places there are.

    Words are equal when their bytes are. ``words`` the first ``n`` of :class:`WordArrays`.
    """
    begin, end, exact = words.begin, words.end, words.exact
    count, table, first = grams.times, grams.table, grams.next_gram
    mask = clear_table(table, n)
    for i in range(n):
        h = exact[i]
        slot = h & mask
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = i
                first[i] = i
                count[i] = 1
                break
            if exact[other] == h:
                length = end[i] - begin[i]
                if end[other] - begin[other] == length and same_bytes(
                    text, begin[other], begin[i], length
                ):
                    first[i] = other
                    count[other] += 1
                    break
            slot = (slot + np.uint64(1)) & mask
    left = 0
    for i in range(n):
        if count[first[i]] > 1:
            grams.place[left] = i
            grams.gram[left] = first[i]
            left += 1
    return left


@njit(cache=True, nogil=True, boundscheck=False)
def _lengthen(place, gram, m, next_place, next_gram, count, table):  # type: ignore[no-untyped-def]
    # From the m repeated (n-1)-grams to the repeated n-grams; returns how many. In next_gram a
    # gram is the index, among the (n-1)-grams, of its first occurrence; so is count.
    mask = clear_table(table, m)
    pairs = 0
    for k in range(m - 1):
        if place[k + 1] != place[k] + 1:
            continue
        left, right = gram[k], gram[k + 1]
        h = np.uint64(left) * _PAIR_A + np.uint64(right) * _PAIR_B
        slot = (h ^ (h >> _U32)) & mask
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = k
                count[k] = 1
                next_gram[pairs] = k
                break
            if gram[other] == left and gram[other + 1] == right:
                count[other] += 1
                next_gram[pairs] = other
                break
            slot = (slot + np.uint64(1)) & mask
        next_place[pairs] = place[k]
        pairs += 1
    kept = 0
    for k in range(pairs):
        if count[next_gram[k]] > 1:
            next_place[kept] = next_place[k]
            next_gram[kept] = next_gram[k]
            kept += 1
    return kept


@njit(cache=True, nogil=True, boundscheck=False)
def _top(place, gram, m, count, chars, n):  # type: ignore[no-untyped-def]
    # Characters of all copies of the most frequent n-gram. Places ascend, and so do first places.
    best, where = 1, 0
    for k in range(m):
        if count[gram[k]] > best:
            best = count[gram[k]]
            where = place[k]
    return np.int64(best) * (chars[where + n] - chars[where] + n - 1)


@njit(cache=True, nogil=True, boundscheck=False)
def _duplicates(place, gram, m, count, chars, n):  # type: ignore[no-untyped-def]
    # Characters in n-grams seen before. Marks what was seen by a negative count.
    total = np.int64(0)
    free = 0
    for k in range(m):
        at = place[k]
        if at < free:
            continue
        if count[gram[k]] < 0:
            total += chars[at + n] - chars[at]
            free = at + n
        else:
            count[gram[k]] = -1
    return total


@njit(cache=True, nogil=True, boundscheck=False)
def repetition(text, words, n, grams, out):  # type: ignore[no-untyped-def]
    """Write Gopher's character counts to ``out`` int64[9]: top 2, 3, 4, duplicate 5 .. 10-grams.

    ``words`` the first ``n`` words of ``text``; ``grams`` scratch of their capacity or more.
    """
    m = repeated_words(text, words, n, grams)
    place, gram = grams.place, grams.gram
    next_place, next_gram = grams.next_place, grams.next_gram
    for length in range(2, _LONGEST + 1):
        m = _lengthen(place, gram, m, next_place, next_gram, grams.times, grams.table)
        place, next_place = next_place, place
        gram, next_gram = next_gram, gram
        value = np.int64(0)
        if length <= _TOP_LAST:
            if length <= n:
                value = _top(place, gram, m, grams.times, words.chars, length)
        else:
            value = _duplicates(place, gram, m, grams.times, words.chars, length)
        out[length - _TOP_FIRST] = value
