"""Sentences of a line: boundaries of UAX #29 (Unicode 18.0), rules SB5 .. SB11.

No dictionary of abbreviations is used, so ``Dr. Smith`` has a boundary and ``e.g. so`` has none.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.text.spans import equal8, first_high, load8
from kernels.text.unicode import (
    SB_ATERM,
    SB_CLOSE,
    SB_CONTINUE,
    SB_EXTEND,
    SB_FORMAT,
    SB_LETTER,
    SB_LOWER,
    SB_MASK,
    SB_NUMERIC,
    SB_OTHER,
    SB_SHIFT,
    SB_SP,
    SB_STERM,
    SB_UPPER,
    decode,
    property_word,
)

_HIGHS = np.uint64(0x8080808080808080)


@njit(inline="always")
def _value(text, i):  # type: ignore[no-untyped-def]
    c, step = decode(text, i)
    return (property_word(c) >> SB_SHIFT) & SB_MASK, step


@njit(cache=True, nogil=True, boundscheck=False)
def _skip(text, i, end, one, other):  # type: ignore[no-untyped-def]
    # The place of the first character that is of neither value.
    while i < end:
        value, step = _value(text, i)
        if value != one and value != other:
            break
        i += step
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def _skip_run(text, i, end, wanted):  # type: ignore[no-untyped-def]
    # Past a run of one value; what extends a character belongs to it (SB5).
    while i < end:
        value, step = _value(text, i)
        if value != wanted:
            break
        i = _skip(text, i + step, end, SB_EXTEND, SB_FORMAT)
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def _lower_follows(text, i, end):  # type: ignore[no-untyped-def]
    # SB8: no letter and no end of a sentence stands between here and a lower-case letter.
    while i < end:
        value, step = _value(text, i)
        if value == SB_LOWER:
            return True
        if value in (SB_UPPER, SB_LETTER, SB_ATERM, SB_STERM):
            return False
        i += step
    return False


@njit(inline="always")
def _next_end(text, i, end):  # type: ignore[no-untyped-def]
    # The place of the next STerm or ATerm, and which. Of ASCII, only . ! and ? are any.
    while i < end:
        v = load8(text, i)
        marks = equal8(v, 0x2E) | equal8(v, 0x21) | equal8(v, 0x3F) | (v & _HIGHS)
        if not marks:
            i += 8
            continue
        i += first_high(marks)
        if i < end:
            value, step = _value(text, i)
            if value in (SB_ATERM, SB_STERM):
                return i, value
            i += step
    return np.int64(end), SB_OTHER


@njit(cache=True, nogil=True, boundscheck=False)
def _cased_before(text, begin, i):  # type: ignore[no-untyped-def]
    # Whether the last character before i that is no Extend and no Format is Upper or Lower.
    while i > begin:
        i -= 1
        while i > begin and (text[i] & 0xC0) == 0x80:
            i -= 1
        value, _ = _value(text, i)
        if value != SB_EXTEND and value != SB_FORMAT:
            return value in (SB_UPPER, SB_LOWER)
    return False


@njit(cache=True, nogil=True, boundscheck=False)
def count_sentences(text, begin, end):  # type: ignore[no-untyped-def]
    """Sentences in the line ``text[begin:end]``, which holds no line break; 0 if it is empty.

    ``text`` uint8 padded by 8 bytes or more.
    """
    if begin >= end:
        return 0
    sentences = 1
    i = np.int64(begin)
    while True:
        mark, value = _next_end(text, i, end)
        if mark >= end:
            break
        _, step = decode(text, mark)
        i = _skip(text, mark + step, end, SB_EXTEND, SB_FORMAT)
        if i >= end:
            break
        after, _ = _value(text, i)
        if value == SB_ATERM and (
            after == SB_NUMERIC or (after == SB_UPPER and _cased_before(text, begin, mark))
        ):
            continue  # SB6, SB7
        i = _skip_run(text, i, end, SB_CLOSE)
        i = _skip_run(text, i, end, SB_SP)  # SB9, SB10
        if i >= end:
            break
        after, _ = _value(text, i)
        if after in (SB_CONTINUE, SB_ATERM, SB_STERM):
            continue  # SB8a
        if value == SB_ATERM and _lower_follows(text, i, end):
            continue
        sentences += 1
    return sentences
