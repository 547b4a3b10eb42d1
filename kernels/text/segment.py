"""Words: the segments of UAX #29 (Unicode 18.0) that do not start with white space.

So a word is a run of letters, digits and underscores with their marks (``can't``, ``3.14`` and
``e.g`` are one), one ideograph or kana letter, a run of katakana, one emoji sequence, or one
punctuation mark. Scripts written without spaces that UAX #29 leaves to dictionaries (Thai, Lao,
Khmer, Burmese) give one word a letter with its marks. The other way of cutting, at white space
only (``str.split``), is there to compare with programs that do so.

A *content word* is one with a letter or a number (general categories L and N). MinHash sees only
these, folded (see :mod:`kernels.text.word_hash`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text.spans import equal8, load8, popcount
from kernels.text.unicode import (
    BYTE_DIGIT,
    BYTE_JOINER,
    BYTE_LETTER,
    BYTE_NON_ASCII,
    BYTE_SPACE,
    PICTOGRAPH,
    SPACE,
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
    property_word,
)
from kernels.text.word_hash import (
    HAS_LETTER,
    HAS_NUMBER,
    HAS_PLAIN,
    hash_lower,
    hash_word,
    measure,
)

_HIGHS = np.uint64(0x8080808080808080)
_LOWS = np.uint64(0x7F7F7F7F7F7F7F7F)
_CASE_BITS = np.uint64(0x2020202020202020)
_TO_LOWER_A = np.uint64(0x1F1F1F1F1F1F1F1F)
_PAST_LOWER_Z = np.uint64(0x0505050505050505)
_TO_ZERO = np.uint64(0x5050505050505050)
_PAST_NINE = np.uint64(0x4646464646464646)
_ONE = np.uint64(1)

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


@njit(inline="always")
def grown_capacity(words, position, size):  # type: ignore[no-untyped-def]
    """The words to make room for after ``words`` in the first ``position`` of ``size`` bytes."""
    return words + words // 8 + np.int64(words / position * (size - position))


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
def _word_run8(v):  # type: ignore[no-untyped-def]
    # The ASCII letters, digits and underscores that eight bytes begin with: the high bits of the
    # letters and of the digits, and how many bytes they are together. No branch: where a word
    # ends is what a processor guesses worst.
    low = v & _LOWS
    folded = low | _CASE_BITS
    letters = (folded + _TO_LOWER_A) & ~(folded + _PAST_LOWER_Z)
    digits = (low + _TO_ZERO) & ~(low + _PAST_NINE)
    others = ~((letters | digits) & ~v | equal8(v, 0x5F)) & _HIGHS
    before = (others & (~others + _ONE)) - _ONE
    letters &= before & _HIGHS
    digits &= before & _HIGHS
    return letters, digits, popcount(before) >> 3


@njit(inline="always")
def _absorbed(value):  # type: ignore[no-untyped-def]
    # Rule WB4: Extend, Format and ZWJ belong to what stands before them.
    return WB_EXTEND <= value <= WB_ZWJ


@njit(inline="always")
def _letter(value):  # type: ignore[no-untyped-def]
    return value in (WB_LETTER, WB_HEBREW)


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
        elif value in (WB_LETTER, WB_HEBREW):
            if _letter(after) or after in (WB_NUMERIC, WB_JOINER):  # WB5, WB9, WB13a
                joins = True
            elif after in (WB_MID_LETTER, WB_MID_BOTH, WB_SINGLE_QUOTE):
                joins = (after == WB_SINGLE_QUOTE and value == WB_HEBREW) or _letter(
                    _value_after(text, size, i + step)
                )  # WB6, WB7a
            elif after == WB_DOUBLE_QUOTE and value == WB_HEBREW:  # WB7b
                joins = _value_after(text, size, i + step) == WB_HEBREW
        elif value == WB_NUMERIC:
            if after in (WB_NUMERIC, WB_JOINER) or _letter(after):  # WB8, WB10, WB13a
                joins = True
            elif after in (WB_MID_NUMBER, WB_MID_BOTH, WB_SINGLE_QUOTE):
                joins = _value_after(text, size, i + step) == WB_NUMERIC  # WB12
        elif value == WB_KATAKANA:
            joins = after == WB_KATAKANA or after == WB_JOINER  # WB13, WB13a
        elif value == WB_JOINER:  # WB13a, WB13b
            joins = after in (WB_JOINER, WB_NUMERIC, WB_KATAKANA) or _letter(after)
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
    if after in (WB_MID_LETTER, WB_MID_BOTH, WB_SINGLE_QUOTE):
        if value == WB_NUMERIC:
            return -WB_NUMERIC
        if value in (WB_LETTER, WB_HEBREW):
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

    ``text`` uint8, padded by 8 zero bytes or more. ``whitespace``: cut at white space only.
    ``words`` :class:`WordArrays`; ``state`` int64[STATE], zeros for a new document: counts so far,
    and the byte to go on from, ``size`` when all is done.
    """
    kinds = WORD_BYTES
    begins, ends, lengths = words.begin, words.end, words.chars
    all_exact, all_folded = words.exact, words.folded
    capacity = begins.shape[0]
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
        seen = 0
        if not whitespace and kind < BYTE_NON_ASCII and kind != BYTE_SPACE:
            if kind & (BYTE_LETTER | BYTE_DIGIT | BYTE_JOINER):
                while True:
                    letters, digits, length = _word_run8(load8(text, i))
                    seen |= (letters != 0) * HAS_LETTER | (digits != 0) * HAS_NUMBER
                    i += length
                    if length == 8:
                        continue
                    # A middle between two letters or two digits. (The padding is no letter.)
                    kind = kinds[text[i]]
                    previous = kinds[text[i - 1]]
                    if not kind & (previous & 3) << 3:
                        break
                    following = kinds[text[i + 1]]
                    if following != previous:
                        kind |= following & BYTE_NON_ASCII
                        break
                    i += 1
                simple = kind < BYTE_NON_ASCII
            elif following != BYTE_NON_ASCII:
                i += 1
                simple = True
        if simple:
            exact = hash_word(text, begin, i)
            folded = hash_lower(text, begin, i)
            chars = i - begin
            has = seen | HAS_PLAIN if seen else 0
        else:
            i = _space_end(text, size, begin) if whitespace else segment_end(text, size, begin)
            c, _ = decode(text, begin)
            if property_word(c) & SPACE:
                continue
            exact, folded, chars, has = measure(text, begin, i)
        begins[n] = begin
        ends[n] = i
        lengths[n + 1] = lengths[n] + chars
        all_exact[n] = exact
        n += 1
        all_folded[content] = folded
        if has & (HAS_LETTER | HAS_NUMBER):
            content += 1
        if has & HAS_PLAIN:
            plain += 1
            plain_chars += chars
        alpha += has & HAS_LETTER
        # What mostly comes next, without a branch that would be guessed wrong.
        i += (text[i] == 0x20) & (text[i + 1] < 0x80)
    state[POSITION] = i
    state[WORDS] = n
    state[CONTENT_WORDS] = content
    state[PLAIN_WORDS], state[PLAIN_CHARS] = plain, plain_chars
    state[ALPHA_WORDS] = alpha
