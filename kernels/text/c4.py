"""Counts over lines cut as ``str.splitlines`` does: C4's line rules, Gopher's bullets and ellipses.

The dialect is datatrove's (0.10). A line is stripped; then, in this order:

1. a word (between white space) of more than 1,000 characters removes the line;
2. citation marks (``[12]``, ``[]``, ``[edit]``, ``[citation needed]``) are taken out of it;
3. not ending in ``. ? ! " '``, or ending in ``...``, removes it (FineWeb leaves this rule out);
4. fewer than 3 words, counted before step 2, remove it;
5. "lorem ipsum" in it condemns the document; 6. "javascript" removes it; 7. "{" condemns the
   document; 8. a phrase about cookies, privacy or terms of use removes it.

Phrases are looked for in the lower-cased line. Here every line is judged, also after one that
condemns its document, so that the counts do not depend on the order of the lines.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.text.characters import (
    LOOK_BRACKET,
    LOOK_CURLY,
    LOOK_DOTS,
    LOOK_KELVIN,
    LOOK_PHRASE,
    may_hold_phrase,
)
from kernels.text.lines import filled_end
from kernels.text.sentences import count_sentences
from kernels.text.spans import count_chars, equal8, front, holds, load8, popcount
from kernels.text.unicode import (
    CAT_DIGIT,
    CATEGORY_MASK,
    CATEGORY_SHIFT,
    LINE_BREAK,
    LINE_BYTES,
    LINE_PLAIN,
    LINE_WIDE,
    SPACE,
    decode,
    property_word,
)

MAX_WORD_CHARS = 1000
MIN_LINE_WORDS = 3
PHRASES = (
    *("lorem ipsum", "javascript"),
    *("terms of use", "privacy policy", "cookie policy"),
    *("uses cookies", "use of cookies", "use cookies"),
)
CITATIONS = ("edit]", "citation needed]")

# What a line is guilty of.
LONG_WORD, UNPUNCTUATED, LOREM_IPSUM, JAVASCRIPT, CURLY, POLICY = 1, 2, 4, 8, 16, 32
REMOVING = LONG_WORD | JAVASCRIPT | POLICY

# Places in the counts.
LINES, MAX_CHARS, BULLETS, ELLIPSES = range(4)
LONG_WORD_LINES, UNPUNCTUATED_LINES, SHORT_LINES, JAVASCRIPT_LINES, POLICY_LINES = range(4, 9)
LOREM_LINES, CURLY_LINES, KEPT_LINES, KEPT_WORDS, SENTENCES = range(9, 14)
ANY_LOREM_LINES, ANY_CURLY_LINES, ANY_KEPT_LINES, ANY_SENTENCES = range(14, 18)
COUNTS = 18

_LOREM, _JAVASCRIPT, _POLICIES = 0, 1, len(PHRASES)
_STRINGS = np.frombuffer("".join(PHRASES + CITATIONS).encode(), np.uint8)
_BOUNDS = np.cumsum([0] + [len(s) for s in PHRASES + CITATIONS])
_FIRST_HIGH = np.uint64(0x80)
_HIGHS = np.uint64(0x8080808080808080)
_E0 = np.uint64(0xE0E0E0E0E0E0E0E0)
_F0 = np.uint64(0xF0F0F0F0F0F0F0F0)
_F8 = np.uint64(0xF8F8F8F8F8F8F8F8)
_ONE = np.uint64(1)
_U7 = np.uint64(7)
_U8 = np.uint64(8)
_U56 = np.uint64(56)
# A word of more bytes than MAX_WORD_CHARS fills more blocks of eight than these.
_DRY_BLOCKS = MAX_WORD_CHARS // 8 - 2


@njit(inline="always")
def _wide_white8(v, v1, v2):  # type: ignore[no-untyped-def]
    # Where a white space beyond ASCII may begin in eight bytes; v1, v2 are what follows them.
    # They are C2 85, C2 A0, E1 9A 80, E2 80 80 .. 8A, E2 80 A8, A9, AF, E2 81 9F and E3 80 80.
    found = equal8(v, 0xC2) & (equal8(v1, 0x85) | equal8(v1, 0xA0))
    found |= equal8(v, 0xE1) & equal8(v1, 0x9A)
    late = equal8(v2 & _F0, 0x80) | equal8(v2 & _F8, 0xA8)
    found |= equal8(v, 0xE2) & (equal8(v1, 0x81) | (equal8(v1, 0x80) & late))
    return found | (equal8(v, 0xE3) & equal8(v1, 0x80) & equal8(v2, 0x80))


@njit(inline="always")
def _plain_words(text, size, begin):  # type: ignore[no-untyped-def]
    # The words of a line and the place of its line feed (or size), eight bytes at a time. -1 words
    # if it may hold a control character other than tab, a break other than LF and CR LF, a white
    # space beyond ASCII, or a word that is too long.
    words = np.int64(0)
    before = _FIRST_HIGH  # the high bit of the first byte: white space before the first word
    dry = 0  # blocks in a row without white space
    i = np.int64(begin)
    while i < size:
        v, v1 = load8(text, i), load8(text, i + 1)
        inside = front(min(size - i, 8))
        feed = equal8(v, 0x0A) & inside
        if feed:
            inside &= ((feed & (~feed + _ONE)) - _ONE) >> _U7
        tabs = equal8(v, 0x09)
        returns = equal8(v, 0x0D) & equal8(v1, 0x0A)
        doubt = equal8(v & _E0, 0x00) & ~(tabs | returns)
        if v & _HIGHS:
            doubt |= _wide_white8(v, v1, load8(text, i + 2))
        white = equal8(v, 0x20) | tabs | returns | (_HIGHS & ~inside)
        dry = dry + 1 if white == 0 else 0
        if doubt & inside or dry > _DRY_BLOCKS:
            return np.int64(-1), i
        words += popcount(~white & _HIGHS & (white << _U8 | before))
        if feed:
            return words, i + (popcount(inside) >> 3)
        before = white >> _U56
        i += 8
    return words, np.int64(size)


@njit(cache=True, nogil=True, boundscheck=False)
def split_line(text, size, begin):  # type: ignore[no-untyped-def]
    """Read the line that begins at byte ``begin`` of ``text[:size]``.

    Returns its end, where the next one begins, where it begins and ends without the white space
    around it, its words, and whether one of them is too long. ``text`` padded by 10 bytes.
    """
    words, end = _plain_words(text, size, begin)
    if words < 0:
        return _split_any_line(text, size, begin)
    following = min(end + 1, size)
    if end > begin and text[end - 1] == 0x0D:
        end -= 1
    first, last = np.int64(begin), end
    while first < last and (text[first] == 0x20 or text[first] == 0x09):
        first += 1
    while first < last and (text[last - 1] == 0x20 or text[last - 1] == 0x09):
        last -= 1
    return end, following, first, last, words, False


@njit(cache=True, nogil=True, boundscheck=False)
def _split_any_line(text, size, begin):  # type: ignore[no-untyped-def]
    # As split_line, byte by byte.
    kinds = LINE_BYTES
    first = last = np.int64(-1)
    words = 0
    too_long = False
    word = np.int64(-1)  # where the word begins that goes on here, if one does
    i = np.int64(begin)
    following = np.int64(size)
    while i < size:
        kind = kinds[text[i]]
        if kind == LINE_PLAIN:
            if word < 0:
                word = i
                words += 1
            i += 1
            continue
        step = 1
        ends = kind == LINE_BREAK
        if kind == LINE_WIDE:
            c, step = decode(text, i)
            if not property_word(c) & SPACE:
                if word < 0:
                    word = i
                    words += 1
                i += step
                continue
            ends = c in (0x85, 0x2028, 0x2029)
        if word >= 0:
            if first < 0:
                first = word
            last = i
            if i - word > MAX_WORD_CHARS:
                too_long |= count_chars(text, word, i) > MAX_WORD_CHARS
            word = np.int64(-1)
        if ends:
            following = np.int64(i + step)
            if text[i] == 0x0D and following < size and text[following] == 0x0A:
                following += 1
            break
        i += step
    if word >= 0:
        if first < 0:
            first = word
        last = i
        if i - word > MAX_WORD_CHARS:
            too_long |= count_chars(text, word, i) > MAX_WORD_CHARS
    if first < 0:
        first = last = i
    return i, following, first, last, np.int64(words), too_long


@njit(cache=True, nogil=True, boundscheck=False)
def _is_at(text, i, end, string):  # type: ignore[no-untyped-def]
    # Whether a string, by its index in _BOUNDS, stands at text[i] and ends by end.
    low, high = _BOUNDS[string], _BOUNDS[string + 1]
    if i + high - low > end:
        return False
    k = 0
    while k < high - low and text[i + k] == _STRINGS[low + k]:
        k += 1
    return k == high - low


@njit(cache=True, nogil=True, boundscheck=False)
def _citation_end(text, i, end):  # type: ignore[no-untyped-def]
    # The end of the citation mark that the "[" at text[i] begins; i if it begins none.
    for citation in range(len(PHRASES), len(PHRASES) + len(CITATIONS)):
        if _is_at(text, i + 1, end, citation):
            return i + 1 + _BOUNDS[citation + 1] - _BOUNDS[citation]
    j = i + 1
    while j < end:
        if text[j] == 0x5D:
            return j + 1
        c, step = decode(text, j)
        if (property_word(c) >> CATEGORY_SHIFT) & CATEGORY_MASK != CAT_DIGIT:
            break
        j += step
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def clean_line(text, begin, end, clean):  # type: ignore[no-untyped-def]
    """Copy a line without its citation marks to ``clean``, zeros after it; return its length.

    ``clean`` uint8 of at least ``end - begin + 8``. Returns -1 if there is no mark in the line.
    """
    i = np.int64(begin)
    while i < end and (text[i] != 0x5B or _citation_end(text, i, end) == i):
        i += 1
    if i == end:
        return -1
    n = i - begin
    clean[:n] = text[begin:i]
    while i < end:
        if text[i] == 0x5B:
            after = _citation_end(text, i, end)
            if after > i:
                i = after
                continue
        clean[n] = text[i]
        n += 1
        i += 1
    clean[n : n + 8] = 0
    return n


@njit(inline="always")
def _lower(text, i, kelvin):  # type: ignore[no-untyped-def]
    # The lower-cased byte at text[i] and its length. The Kelvin sign is the one character beyond
    # ASCII that becomes part of a phrase when it is lower-cased.
    byte = text[i]
    if 0x41 <= byte <= 0x5A:
        return np.uint8(byte + 0x20), 1
    if kelvin and byte == 0xE2 and text[i + 1] == 0x84 and text[i + 2] == 0xAA:
        return np.uint8(0x6B), 3
    return byte, 1


@njit(cache=True, nogil=True, boundscheck=False)
def _phrase_at(text, i, end, phrase, kelvin):  # type: ignore[no-untyped-def]
    for k in range(_BOUNDS[phrase], _BOUNDS[phrase + 1]):
        if i >= end:
            return False
        byte, step = _lower(text, i, kelvin)
        if byte != _STRINGS[k]:
            return False
        i += step
    return True


@njit(cache=True, nogil=True, boundscheck=False)
def _phrases(text, begin, end, kelvin):  # type: ignore[no-untyped-def]
    # Which of the phrases are in a line, as bits of what a line is guilty of.
    guilt = 0
    i = np.int64(begin)
    while i < end:
        byte, step = _lower(text, i, kelvin)
        for phrase in range(_POLICIES):
            if byte == _STRINGS[_BOUNDS[phrase]] and _phrase_at(text, i, end, phrase, kelvin):
                if phrase == _LOREM:
                    guilt |= LOREM_IPSUM
                elif phrase == _JAVASCRIPT:
                    guilt |= JAVASCRIPT
                else:
                    guilt |= POLICY
        i += step
    return guilt


@njit(cache=True, nogil=True, boundscheck=False)
def judge_line(text, begin, end, too_long, looks, clean):  # type: ignore[no-untyped-def]
    """Judge a stripped line by all rules but the number of words.

    ``looks`` from :func:`kernels.text.characters.look`; ``clean`` uint8 scratch of the line's
    length and 8 more. Returns the rules it breaks, as bits, and the length of the line
    without citation marks, which is then in ``clean``; -1 if it has none.
    """
    if too_long:
        return LONG_WORD, -1
    cleaned = -1
    if looks & LOOK_BRACKET and holds(text, begin, end, 0x5B):
        cleaned = clean_line(text, begin, end, clean)
    line, a, b = (text, begin, end) if cleaned < 0 else (clean, np.int64(0), np.int64(cleaned))
    guilt = UNPUNCTUATED
    if b > a:
        mark = line[b - 1]
        if mark == 0x2E:
            if b - a < 3 or line[b - 2] != 0x2E or line[b - 3] != 0x2E:
                guilt = 0
        elif mark == 0x3F or mark == 0x21 or mark == 0x22 or mark == 0x27:
            guilt = 0
    if looks & LOOK_KELVIN or (
        (looks & LOOK_PHRASE or cleaned >= 0) and may_hold_phrase(line, a, b)
    ):
        guilt |= _phrases(line, a, b, looks & LOOK_KELVIN)
    if looks & LOOK_CURLY and holds(line, a, b, 0x7B):
        guilt |= CURLY
    return guilt, cleaned


@njit(inline="always")
def _ends_in_ellipsis(text, begin, end):  # type: ignore[no-untyped-def]
    if end - begin < 3:
        return False
    a, b, c = text[end - 3], text[end - 2], text[end - 1]
    return (a == 0x2E and b == 0x2E and c == 0x2E) or (a == 0xE2 and b == 0x80 and c == 0xA6)


@njit(cache=True, nogil=True, boundscheck=False)
def count_c4(text, size, is_ascii, looks, clean, counts):  # type: ignore[no-untyped-def]
    """Write the counts of the lines of ``text[:size]`` to ``counts`` int64[COUNTS].

    ``text`` uint8 padded by 8 bytes or more; ``clean`` uint8 scratch of 8 bytes more than the
    longest line with a "[".
    """
    counts[:] = 0
    following = np.int64(0)
    while following < size:
        begin = following
        end, following, first, last, words, too_long = split_line(text, size, begin)
        counts[LINES] += 1
        chars = end - begin if is_ascii else count_chars(text, begin, end)
        counts[MAX_CHARS] = max(counts[MAX_CHARS], chars)
        if first == last:
            counts[UNPUNCTUATED_LINES] += 1
            continue
        counts[BULLETS] += text[first] == 0x2D or (
            text[first] == 0xE2 and text[first + 1] == 0x80 and text[first + 2] == 0xA2
        )
        if looks & LOOK_DOTS:
            counts[ELLIPSES] += _ends_in_ellipsis(text, first, last)
        guilt, cleaned = judge_line(text, first, last, too_long, looks, clean)
        if guilt & LONG_WORD:
            counts[LONG_WORD_LINES] += 1
            continue
        punctuated = not guilt & UNPUNCTUATED
        counts[UNPUNCTUATED_LINES] += not punctuated
        if words < MIN_LINE_WORDS:
            counts[SHORT_LINES] += punctuated
            continue
        if guilt & LOREM_IPSUM:
            counts[ANY_LOREM_LINES] += 1
            counts[LOREM_LINES] += punctuated
        if guilt & JAVASCRIPT:
            counts[JAVASCRIPT_LINES] += punctuated
            continue
        if guilt & CURLY:
            counts[ANY_CURLY_LINES] += 1
            counts[CURLY_LINES] += punctuated
        if guilt & POLICY:
            counts[POLICY_LINES] += punctuated
            continue
        if cleaned < 0:
            sentences = count_sentences(text, first, last)
        else:
            sentences = count_sentences(clean, 0, filled_end(clean, 0, cleaned))
        counts[ANY_KEPT_LINES] += 1
        counts[ANY_SENTENCES] += sentences
        if punctuated:
            counts[KEPT_LINES] += 1
            counts[KEPT_WORDS] += words
            counts[SENTENCES] += sentences
