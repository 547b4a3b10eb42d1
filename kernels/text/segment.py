"""Words: the segments of UAX #29 (Unicode 18.0) that do not start with white space.

So a word is a run of letters, digits and underscores with their marks (``can't``, ``3.14`` and
``e.g`` are one), one ideograph or kana letter, a run of katakana, one emoji sequence, or one
punctuation mark. Scripts written without spaces that UAX #29 leaves to dictionaries (Thai, Lao,
Khmer, Burmese) give one word a letter with its marks. The other way of cutting, at white space
only (``str.split``), is there to compare with programs that do so.

The hash of a word is the 64-bit FNV-1a of its UTF-8 bytes, then MurmurHash3's 64-bit finaliser
(FNV leaves its upper bits poorly mixed for short words). *Folded* means after simple case folding
(CaseFolding.txt, statuses C and S), character by character. A *content word* is one with a letter
or a number (general categories L and N).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text.unicode import (
    BYTE_DIGIT,
    BYTE_JOINER,
    BYTE_LETTER,
    BYTE_NON_ASCII,
    BYTE_SPACE,
    CAT_DIGIT,
    CAT_LETTER,
    CAT_NUMBER,
    CAT_UPPER,
    CATEGORY_MASK,
    CATEGORY_SHIFT,
    PICTOGRAPH,
    SPACE,
    SYMBOL,
    WB_CR,
    WB_DOUBLE_QUOTE,
    WB_EXTEND,
    WB_HEBREW,
    WB_JOINER,
    WB_KATAKANA,
    WB_LETTER,
    WB_MASK,
    WB_MID_BOTH,
    WB_MID_LETTER,
    WB_MID_NUMBER,
    WB_NUMERIC,
    WB_OTHER,
    WB_REGIONAL,
    WB_SINGLE_QUOTE,
    WB_SPACE,
    WB_ZWJ,
    WORD_BYTES,
    decode,
    fold,
    property_word,
)

FNV_OFFSET = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3

_OFFSET = np.uint64(FNV_OFFSET)
_PRIME = np.uint64(FNV_PRIME)
_MIX_A = np.uint64(0xFF51AFD7ED558CCD)
_MIX_B = np.uint64(0xC4CEB9FE1A85EC53)
_U33 = np.uint64(33)

# What the characters of a word are, beside the kinds of bytes of kernels.text.unicode.
_HAS_LETTER, _HAS_NUMBER, _HAS_PLAIN = 1, 2, 4

# Places in the state of a segmentation.
POSITION, WORDS, CONTENT_WORDS, PLAIN_WORDS, PLAIN_CHARS, ALPHA_WORDS = range(6)
STATE = 6


class WordArrays(NamedTuple):
    """The words of one document, in the first ``state[WORDS]`` places of each array.

    ``begin``, ``end`` int32[capacity]: byte offsets in the document. ``chars`` int32[capacity + 1]:
    characters in all words before, so that differences are lengths. ``exact`` uint64[capacity]:
    hashes of the words as written. ``folded`` uint64[capacity]: hashes of the folded content words
    only, in its first ``state[CONTENT_WORDS]`` places.
    """

    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    chars: NDArray[np.int32]
    exact: NDArray[np.uint64]
    folded: NDArray[np.uint64]


@njit(inline="always")
def new_words(capacity):  # type: ignore[no-untyped-def]
    """Allocate the arrays for ``capacity`` words."""
    return WordArrays(
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.zeros(capacity + 1, np.int32),
        np.empty(capacity, np.uint64),
        np.empty(capacity, np.uint64),
    )


@njit(cache=True, nogil=True)
def grown_words(words, capacity):  # type: ignore[no-untyped-def]
    """Copy the arrays into larger ones."""
    grown = new_words(capacity)
    grown.begin[: words.begin.shape[0]] = words.begin
    grown.end[: words.end.shape[0]] = words.end
    grown.chars[: words.chars.shape[0]] = words.chars
    grown.exact[: words.exact.shape[0]] = words.exact
    grown.folded[: words.folded.shape[0]] = words.folded
    return grown


@njit(inline="always")
def _finish(h):  # type: ignore[no-untyped-def]
    h ^= h >> _U33
    h *= _MIX_A
    h ^= h >> _U33
    h *= _MIX_B
    return h ^ (h >> _U33)


@njit(inline="always")
def _feed(h, byte):  # type: ignore[no-untyped-def]
    return (h ^ np.uint64(byte)) * _PRIME


@njit(cache=True, nogil=True, boundscheck=False)
def measure(text, begin, end):  # type: ignore[no-untyped-def]
    """Hash one word; return its exact and folded hash, its characters, and what is in it."""
    exact, folded = _OFFSET, _OFFSET
    chars, has = 0, 0
    i = begin
    while i < end:
        c, step = decode(text, i)
        word = property_word(c)
        category = (word >> CATEGORY_SHIFT) & CATEGORY_MASK
        if category == CAT_LETTER or category == CAT_UPPER:
            has |= _HAS_LETTER
        elif category == CAT_DIGIT or category == CAT_NUMBER:
            has |= _HAS_NUMBER
        if not word & SYMBOL:
            has |= _HAS_PLAIN
        for k in range(i, i + step):
            exact = _feed(exact, text[k])
        c = fold(c)
        if c < 0x80:
            folded = _feed(folded, c)
        elif c < 0x800:
            folded = _feed(folded, 0xC0 | c >> 6)
            folded = _feed(folded, 0x80 | c & 0x3F)
        elif c < 0x10000:
            folded = _feed(folded, 0xE0 | c >> 12)
            folded = _feed(folded, 0x80 | c >> 6 & 0x3F)
            folded = _feed(folded, 0x80 | c & 0x3F)
        else:
            folded = _feed(folded, 0xF0 | c >> 18)
            folded = _feed(folded, 0x80 | c >> 12 & 0x3F)
            folded = _feed(folded, 0x80 | c >> 6 & 0x3F)
            folded = _feed(folded, 0x80 | c & 0x3F)
        chars += 1
        i += step
    return _finish(exact), _finish(folded), chars, has


@njit(inline="always")
def _absorbed(value):  # type: ignore[no-untyped-def]
    # Rule WB4: Extend, Format and ZWJ belong to what stands before them.
    return WB_EXTEND <= value <= WB_ZWJ


@njit(inline="always")
def _letter(value):  # type: ignore[no-untyped-def]
    return value == WB_LETTER or value == WB_HEBREW


@njit(cache=True, nogil=True, boundscheck=False)
def _value_after(text, size, i):  # type: ignore[no-untyped-def]
    # Word_Break of the first character from i on that WB4 does not pass over; -1 at the end.
    while i < size:
        c, step = decode(text, i)
        value = property_word(c) & WB_MASK
        if not _absorbed(value):
            return value
        i += step
    return -1


@njit(cache=True, nogil=True, boundscheck=False)
def segment_end(text, size, begin):  # type: ignore[no-untyped-def]
    """Where the UAX #29 word segment that begins at byte ``begin`` ends (rules WB3 .. WB999)."""
    c, step = decode(text, begin)
    value = property_word(c) & WB_MASK
    i = begin + step
    if value >= WB_CR:
        if value == WB_CR and i < size and text[i] == 0x0A:
            i += 1
        return i
    last = value  # of the character just before i, absorbed or not
    if _absorbed(value):
        value = WB_OTHER
    odd = value == WB_REGIONAL
    while i < size:
        c, step = decode(text, i)
        word = property_word(c)
        after = word & WB_MASK
        if _absorbed(after):
            last = after
            i += step
            continue
        joins = False
        if last == WB_ZWJ and word & PICTOGRAPH:  # WB3c
            joins = True
        elif value == WB_LETTER or value == WB_HEBREW:
            if _letter(after) or after == WB_NUMERIC or after == WB_JOINER:  # WB5, WB9, WB13a
                joins = True
            elif after == WB_MID_LETTER or after == WB_MID_BOTH or after == WB_SINGLE_QUOTE:
                joins = (after == WB_SINGLE_QUOTE and value == WB_HEBREW) or _letter(
                    _value_after(text, size, i + step)
                )  # WB6, WB7a
            elif after == WB_DOUBLE_QUOTE and value == WB_HEBREW:  # WB7b
                joins = _value_after(text, size, i + step) == WB_HEBREW
        elif value == WB_NUMERIC:
            if after == WB_NUMERIC or _letter(after) or after == WB_JOINER:  # WB8, WB10, WB13a
                joins = True
            elif after == WB_MID_NUMBER or after == WB_MID_BOTH or after == WB_SINGLE_QUOTE:
                joins = _value_after(text, size, i + step) == WB_NUMERIC  # WB12
        elif value == WB_KATAKANA:
            joins = after == WB_KATAKANA or after == WB_JOINER  # WB13, WB13a
        elif value == WB_JOINER:  # WB13a, WB13b
            joins = (
                after == WB_JOINER or _letter(after) or after == WB_NUMERIC or after == WB_KATAKANA
            )
        elif value == WB_REGIONAL:  # WB15, WB16: pairs
            joins = odd and after == WB_REGIONAL
            odd = False
        elif value == WB_SPACE:
            joins = after == WB_SPACE and last == WB_SPACE  # WB3d
        elif value < 0:  # WB7, WB7c, WB11: the far side of a middle, tested when it was joined
            joins = after == -value or (value == -WB_LETTER and _letter(after))
        if not joins:
            return i
        i += step
        last = after
        value = _within(value, after)
    return i


@njit(inline="always")
def _within(value, after):  # type: ignore[no-untyped-def]
    # The value to judge the next character by. A middle that was joined is remembered as minus
    # the value it waits for.
    if after == WB_MID_LETTER or after == WB_MID_BOTH or after == WB_SINGLE_QUOTE:
        if value == WB_NUMERIC:
            return -WB_NUMERIC
        if value == WB_LETTER or value == WB_HEBREW:
            return -WB_LETTER
    elif after == WB_MID_NUMBER:
        return -WB_NUMERIC
    elif after == WB_DOUBLE_QUOTE:
        return -WB_HEBREW
    return after


@njit(cache=True, nogil=True, boundscheck=False)
def _space_end(text, size, begin):  # type: ignore[no-untyped-def]
    # The end of the run of characters, white space or not, that begins at a byte.
    c, step = decode(text, begin)
    white = property_word(c) & SPACE
    i = begin + step
    while i < size:
        c, step = decode(text, i)
        if property_word(c) & SPACE != white:
            break
        i += step
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def segment(text, size, whitespace, words, state):  # type: ignore[no-untyped-def]
    """Cut ``text[:size]`` into words from byte ``state[POSITION]`` on, until the arrays are full.

    ``text`` uint8, padded by 4 zero bytes or more. ``whitespace``: cut at white space only.
    ``words`` :class:`WordArrays`; ``state`` int64[STATE], zeros for a new document: counts so far,
    and the byte to go on from, ``size`` when all is done.
    """
    kinds = WORD_BYTES
    capacity = words.begin.shape[0]
    i = state[POSITION]
    n = state[WORDS]
    content = state[CONTENT_WORDS]
    plain, plain_chars = state[PLAIN_WORDS], state[PLAIN_CHARS]
    alpha = state[ALPHA_WORDS]
    while i < size and n < capacity:
        kind = kinds[text[i]]
        following = kinds[text[i + 1]]
        if kind == BYTE_SPACE and following != BYTE_NON_ASCII:
            i += 1
            continue
        begin = i
        simple = False  # all ASCII, and nothing after it that could belong to it
        exact, folded = _OFFSET, _OFFSET
        seen = 0
        if not whitespace and kind < BYTE_NON_ASCII and kind != BYTE_SPACE:
            if kind & (BYTE_LETTER | BYTE_DIGIT | BYTE_JOINER):
                while True:
                    while kind & (BYTE_LETTER | BYTE_DIGIT | BYTE_JOINER):
                        seen |= kind
                        byte = np.uint64(text[i])
                        exact = _feed(exact, byte)
                        if byte - np.uint64(65) < np.uint64(26):
                            byte += np.uint64(32)
                        folded = _feed(folded, byte)
                        previous = kind
                        i += 1
                        kind = kinds[text[i]]
                    # A middle between two letters or two digits. (The padding is no letter.)
                    if not kind & (previous & 3) << 3:
                        break
                    following = kinds[text[i + 1]]
                    if following != previous:
                        kind |= following & BYTE_NON_ASCII
                        break
                    exact = _feed(exact, text[i])
                    folded = _feed(folded, text[i])
                    i += 1
                    kind = following
                simple = kind < BYTE_NON_ASCII
            elif following != BYTE_NON_ASCII:
                exact = folded = _feed(exact, text[i])
                i += 1
                simple = True
        if simple:
            exact = _finish(exact)
            folded = _finish(folded)
            chars = i - begin
            has = seen & 3
            if has:
                has |= _HAS_PLAIN
        else:
            if whitespace:
                i = _space_end(text, size, begin)
            else:
                i = segment_end(text, size, begin)
            c, _ = decode(text, begin)
            if property_word(c) & SPACE:
                continue
            exact, folded, chars, has = measure(text, begin, i)
        words.begin[n] = begin
        words.end[n] = i
        words.chars[n + 1] = words.chars[n] + chars
        words.exact[n] = exact
        n += 1
        words.folded[content] = folded
        if has & (_HAS_LETTER | _HAS_NUMBER):
            content += 1
        if has & _HAS_PLAIN:
            plain += 1
            plain_chars += chars
        alpha += has & _HAS_LETTER
    state[POSITION] = i
    state[WORDS] = n
    state[CONTENT_WORDS] = content
    state[PLAIN_WORDS], state[PLAIN_CHARS] = plain, plain_chars
    state[ALPHA_WORDS] = alpha
