"""Gopher's stop words: how many of eight English words a document holds."""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.text.spans import load8

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

_LONGEST = max(len(word) for word in STOP_WORDS)
_PACKED = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], np.uint64)
_ALL_FOUND = (1 << len(STOP_WORDS)) - 1
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True, boundscheck=False)
def count_stop_words(text, begin, end, n):  # type: ignore[no-untyped-def]
    """How many different :data:`STOP_WORDS` are among the words ``text[begin[i]:end[i]]``, i < n.

    The spelling counts ("The" is none). ``text`` uint8 padded by 8 bytes or more.
    """
    found = 0
    count = 0
    for i in range(n):
        length = end[i] - begin[i]
        if length > _LONGEST:
            continue
        packed = load8(text, np.int64(begin[i])) & (_ONES >> np.uint64(8 * (8 - length)))
        for k in range(len(_PACKED)):
            if packed == _PACKED[k] and not found >> k & 1:
                found |= 1 << k
                count += 1
        if found == _ALL_FOUND:
            break
    return count
