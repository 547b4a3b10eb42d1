"""Counts of characters by kind, and quick looks that spare later passes their work."""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.text.spans import equal8, load8
from kernels.text.unicode import (
    CAT_CONTROL,
    CAT_DIGIT,
    CAT_LETTER,
    CAT_PUNCT,
    CAT_UPPER,
    CATEGORY_MASK,
    CATEGORY_SHIFT,
    SPACE,
    decode,
    property_word,
)

# Places in the counts.
LETTERS, UPPER, DIGITS, PUNCT, SPACES, CONTROLS, HASHES, NEWLINES = range(8)
CHARS, NON_ASCII, REPLACEMENTS, ELLIPSES = range(8, 12)
COUNTS = 12

# Bits of a look.
LOOK_PHRASE, LOOK_KELVIN, LOOK_BRACKET, LOOK_DOTS, LOOK_CURLY = 1, 2, 4, 8, 16

_LANE = np.uint64(8)
_BYTE = np.uint64(255)
_E0 = np.uint64(0xE0E0E0E0E0E0E0E0)
_CASE = np.uint64(0x2020202020202020)


@njit(cache=True, nogil=True)
def lanes():  # type: ignore[no-untyped-def]
    """For each ASCII character, one in the 8-bit lane of each of the first eight counts it is of.

    uint64[128]; 255 of them can be added before a lane overflows.
    """
    table = np.zeros(128, np.uint64)
    for c in range(128):
        word = property_word(c)
        category = (word >> CATEGORY_SHIFT) & CATEGORY_MASK
        lane = np.uint64(0)
        if category in (CAT_LETTER, CAT_UPPER):
            lane |= np.uint64(1) << np.uint64(8 * LETTERS)
        if category == CAT_UPPER:
            lane |= np.uint64(1) << np.uint64(8 * UPPER)
        if category == CAT_DIGIT:
            lane |= np.uint64(1) << np.uint64(8 * DIGITS)
        if category == CAT_PUNCT:
            lane |= np.uint64(1) << np.uint64(8 * PUNCT)
        if word & SPACE:
            lane |= np.uint64(1) << np.uint64(8 * SPACES)
        if category == CAT_CONTROL and not (c == 9 or c == 10 or c == 13):
            lane |= np.uint64(1) << np.uint64(8 * CONTROLS)
        if c == 35:
            lane |= np.uint64(1) << np.uint64(8 * HASHES)
        if c == 10:
            lane |= np.uint64(1) << np.uint64(8 * NEWLINES)
        table[c] = lane
    return table


@njit(cache=True, nogil=True, boundscheck=False)
def count_characters(text, size, ascii_lanes, counts):  # type: ignore[no-untyped-def]
    """Write the counts of ``text[:size]`` to ``counts`` int64[COUNTS] (all but ELLIPSES).

    ``text`` uint8 padded by 4 bytes or more, ``ascii_lanes`` from :func:`lanes`.
    """
    counts[:] = 0
    i = 0
    while i < size:
        stop = min(i + 255, size)
        sums = np.uint64(0)
        first = i
        wide = 0  # bytes of this block that are not ASCII
        while i < stop:
            byte = text[i]
            if byte < 0x80:
                sums += ascii_lanes[byte]
                i += 1
                continue
            c, step = decode(text, i)
            word = property_word(c)
            category = (word >> CATEGORY_SHIFT) & CATEGORY_MASK
            counts[LETTERS] += category in (CAT_LETTER, CAT_UPPER)
            counts[UPPER] += category == CAT_UPPER
            counts[DIGITS] += category == CAT_DIGIT
            counts[PUNCT] += category == CAT_PUNCT
            counts[SPACES] += (word & SPACE) != 0
            counts[CONTROLS] += category == CAT_CONTROL
            counts[REPLACEMENTS] += c == 0xFFFD
            counts[NON_ASCII] += 1
            wide += step
            i += step
        counts[CHARS] += i - first - wide
        for lane in range(8):
            counts[lane] += np.int64(sums & _BYTE)
            sums >>= _LANE
    counts[CHARS] += counts[NON_ASCII]


@njit(inline="always")
def _phrase8(v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    # Whether a phrase of C4's may begin at one of eight bytes; v1 .. v3 are what follows them.
    v0, v1, v2, v3 = v0 | _CASE, v1 | _CASE, v2 | _CASE, v3 | _CASE
    # java(script), lore(m ipsum), term(s of use), (privacy, cookie) poli(cy), cook(ies)
    found = equal8(v0, 0x6A) & equal8(v1, 0x61) & equal8(v2, 0x76) & equal8(v3, 0x61)
    found |= equal8(v0, 0x6C) & equal8(v1, 0x6F) & equal8(v2, 0x72) & equal8(v3, 0x65)
    found |= equal8(v0, 0x74) & equal8(v1, 0x65) & equal8(v2, 0x72) & equal8(v3, 0x6D)
    found |= equal8(v0, 0x70) & equal8(v1, 0x6F) & equal8(v2, 0x6C) & equal8(v3, 0x69)
    found |= equal8(v0, 0x63) & equal8(v1, 0x6F) & equal8(v2, 0x6F) & equal8(v3, 0x6B)
    return found


@njit(cache=True, nogil=True, boundscheck=False)
def look(text, size):  # type: ignore[no-untyped-def]
    """Tell what ``text[:size]`` may hold: bits ``LOOK_*``; no bit means surely not.

    LOOK_PHRASE: one of C4's phrases, in any ASCII case; LOOK_KELVIN: U+212A, whose lower case is
    "k"; LOOK_BRACKET: "["; LOOK_CURLY: "{"; LOOK_DOTS: "..." or "…".
    ``text`` padded by 11 bytes or more.
    """
    phrase, kelvin, dots = np.uint64(0), np.uint64(0), np.uint64(0)
    bracket, curly = np.uint64(0), np.uint64(0)
    for block in range((size + 7) // 8):
        i = block * 8
        v0, v1 = load8(text, i), load8(text, i + 1)
        v2, v3 = load8(text, i + 2), load8(text, i + 3)
        bracket |= equal8(v0, 0x5B)
        curly |= equal8(v0, 0x7B)
        dots |= equal8(v0, 0x2E) & equal8(v1, 0x2E) & equal8(v2, 0x2E)
        dots |= equal8(v0, 0xE2) & equal8(v1, 0x80) & equal8(v2, 0xA6)
        kelvin |= equal8(v0, 0xE2) & equal8(v1, 0x84) & equal8(v2, 0xAA)
        phrase |= _phrase8(v0, v1, v2, v3)
    looks = LOOK_PHRASE if phrase else 0
    looks |= LOOK_KELVIN if kelvin else 0
    looks |= LOOK_BRACKET if bracket else 0
    looks |= LOOK_CURLY if curly else 0
    return looks | (LOOK_DOTS if dots else 0)


@njit(cache=True, nogil=True, boundscheck=False)
def may_hold_phrase(text, begin, end):  # type: ignore[no-untyped-def]
    """Whether a phrase of C4's may be in ``text[begin:end]``, in any ASCII case."""
    found = np.uint64(0)
    for block in range((end - begin + 7) // 8):
        i = begin + block * 8
        found |= _phrase8(
            load8(text, i), load8(text, i + 1), load8(text, i + 2), load8(text, i + 3)
        )
    return found != 0


@njit(cache=True, nogil=True, boundscheck=False)
def count_ellipses(text, size):  # type: ignore[no-untyped-def]
    """Count "..." (from left to right, none overlapping) and "…" in ``text[:size]``."""
    count = 0
    i = 0
    while i < size:
        dots = text[i] == 0x2E and text[i + 1] == 0x2E and text[i + 2] == 0x2E
        if dots or (text[i] == 0xE2 and text[i + 1] == 0x80 and text[i + 2] == 0xA6):
            count += 1
            i += 3
        else:
            i += 1
    return count


@njit(inline="always")
def control_at(text, i, end):  # type: ignore[no-untyped-def]
    """Bytes of the control character at ``text[i]``; 0 if it is none, or tab, LF or CR.

    Control characters are those of category Cc: U+0000 .. U+001F and U+007F .. U+009F.
    """
    byte = text[i]
    if byte < 0x20:
        return 0 if byte == 9 or byte == 10 or byte == 13 else 1
    if byte == 0x7F:
        return 1
    if byte == 0xC2 and i + 1 < end and text[i + 1] < 0xA0:
        return 2
    return 0


@njit(inline="always")
def may_hold_control8(v):  # type: ignore[no-untyped-def]
    """Whether a control character as of :func:`control_at` may begin in eight bytes (uint64)."""
    found = equal8(v & _E0, 0x00) & ~equal8(v, 0x09) & ~equal8(v, 0x0A) & ~equal8(v, 0x0D)
    return found | equal8(v, 0x7F) | equal8(v, 0xC2)
