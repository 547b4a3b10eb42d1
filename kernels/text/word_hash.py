"""Hashes of words, as written and folded, and what kinds of characters a word holds.

A hash, 64 bits, takes a word's UTF-8 bytes in blocks of eight, little-endian, the last one filled
with zeros: ``h = (h ^ block) * HASH_MULTIPLIER; h ^= h >> 32`` from ``HASH_SEED`` on, then
MurmurHash3's 64-bit finaliser of ``h ^ length``. Words of up to eight bytes and of equal length
never share a hash. *Folded* means after simple case folding (CaseFolding.txt, statuses C and S),
character by character.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.text.spans import front, load8
from kernels.text.unicode import (
    CAT_DIGIT,
    CAT_LETTER,
    CAT_NUMBER,
    CAT_UPPER,
    CATEGORY_MASK,
    CATEGORY_SHIFT,
    SYMBOL,
    decode,
    fold,
    property_word,
)

HASH_SEED = 0x243F6A8885A308D3
HASH_MULTIPLIER = 0x9E3779B97F4A7C15

_SEED = np.uint64(HASH_SEED)
_MULTIPLIER = np.uint64(HASH_MULTIPLIER)
_MIX_A = np.uint64(0xFF51AFD7ED558CCD)
_MIX_B = np.uint64(0xC4CEB9FE1A85EC53)
_U32 = np.uint64(32)
_U33 = np.uint64(33)
_TO_A = np.uint64(0x3F3F3F3F3F3F3F3F)  # lifts "A" and what follows it to the high bit
_PAST_Z = np.uint64(0x2525252525252525)  # lifts what follows "Z"
_HIGHS = np.uint64(0x8080808080808080)
_U2 = np.uint64(2)

# What the characters of a word are, as bits: plain is what is no symbol.
HAS_LETTER, HAS_NUMBER, HAS_PLAIN = 1, 2, 4


@njit(inline="always")
def _finish(h, length):  # type: ignore[no-untyped-def]
    h ^= np.uint64(length)
    h ^= h >> _U33
    h *= _MIX_A
    h ^= h >> _U33
    h *= _MIX_B
    return h ^ (h >> _U33)


@njit(inline="always")
def _feed(h, block):  # type: ignore[no-untyped-def]
    h = (h ^ block) * _MULTIPLIER
    return h ^ (h >> _U32)


@njit(inline="always")
def _lower8(v):  # type: ignore[no-untyped-def]
    # Eight ASCII bytes, upper case to lower.
    return v | (((v + _TO_A) & ~(v + _PAST_Z) & _HIGHS) >> _U2)


@njit(inline="always")
def hash_word(text, begin, end):  # type: ignore[no-untyped-def]
    """Hash ``text[begin:end]``, which is not empty; ``text`` uint8 padded by 8 bytes."""
    h = _SEED
    i = np.int64(begin)
    while i + 8 < end:
        h = _feed(h, load8(text, i))
        i += 8
    return _finish(_feed(h, load8(text, i) & front(end - i)), end - begin)


@njit(inline="always")
def hash_lower(text, begin, end):  # type: ignore[no-untyped-def]
    """Hash ``text[begin:end]`` folded, where all of it is ASCII."""
    h = _SEED
    i = np.int64(begin)
    while i + 8 < end:
        h = _feed(h, _lower8(load8(text, i)))
        i += 8
    return _finish(_feed(h, _lower8(load8(text, i) & front(end - i))), end - begin)


@njit(inline="always")
def _encoded(c):  # type: ignore[no-untyped-def]
    # The UTF-8 bytes of a code point as a little-endian integer, and how many they are.
    if c < 0x80:
        return c, 1
    if c < 0x800:
        return 0x80C0 | c >> 6 | (c & 0x3F) << 8, 2
    if c < 0x10000:
        return 0x8080E0 | c >> 12 | (c >> 6 & 0x3F) << 8 | (c & 0x3F) << 16, 3
    high = 0x808080F0 | c >> 18 | (c >> 12 & 0x3F) << 8
    return high | (c >> 6 & 0x3F) << 16 | (c & 0x3F) << 24, 4


@njit(cache=True, nogil=True, boundscheck=False)
def measure(text, begin, end):  # type: ignore[no-untyped-def]
    """Hash one word; return its exact and folded hash, its characters, and what is in it."""
    folded = _SEED
    block, filled, length = np.uint64(0), 0, 0
    chars, has = 0, 0
    i = np.int64(begin)
    while i < end:
        c, step = decode(text, i)
        word = property_word(c)
        category = (word >> CATEGORY_SHIFT) & CATEGORY_MASK
        if category in (CAT_LETTER, CAT_UPPER):
            has |= HAS_LETTER
        elif category in (CAT_DIGIT, CAT_NUMBER):
            has |= HAS_NUMBER
        if not word & SYMBOL:
            has |= HAS_PLAIN
        code, size = _encoded(fold(c))
        for _ in range(size):
            if filled == 8:
                folded = _feed(folded, block)
                block, filled = np.uint64(0), 0
            block |= np.uint64(code & 0xFF) << np.uint64(8 * filled)
            filled += 1
            code >>= 8
        length += size
        chars += 1
        i += step
    folded = _finish(_feed(folded, block), length)
    return hash_word(text, begin, end), folded, chars, has
