"""Counts over lines cut at line feeds, and over paragraphs: Gopher repetition, FineWeb, mC4.

The dialect is datatrove's (0.10):

* Gopher's lines are the parts between runs of line feeds (``\\n+``): an empty one can stand only
  at either end of the text. Its paragraphs are the parts of the stripped text between runs of two
  or more line feeds. An element seen before is a duplicate; the first of equals is none.
* FineWeb's lines are the parts between line feeds that hold more than white space, mC4's all of
  them.
* Two elements are equal when their bytes are. Lengths are in characters.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.text.spans import clear_table, count_chars, next_line_feed, seen_before
from kernels.text.unicode import SPACE, TERMINAL, decode, property_word

SHORT_LINE_CHARS = 30
LONG_LINE_CHARS = 200

# Places in the counts.
LINES, DUP_LINES, DUP_LINE_CHARS, PARAGRAPHS, DUP_PARAGRAPHS, DUP_PARAGRAPH_CHARS = range(6)
FILLED_LINES, ENDED_LINES, SHORT_LINES, FILLED_DUP_CHARS, LONG_LINES = range(6, 11)
COUNTS = 11


@njit(inline="always")
def first_filled(text, begin, end):  # type: ignore[no-untyped-def]
    """The place of the first character in ``text[begin:end]`` that is not white space, or end."""
    i = np.int64(begin)
    while i < end:
        c, step = decode(text, i)
        if not property_word(c) & SPACE:
            break
        i += step
    return i


@njit(inline="always")
def last_character(text, begin, end):  # type: ignore[no-untyped-def]
    """The place of the last character of ``text[begin:end]``, which is not empty."""
    i = np.int64(end - 1)
    while i > begin and (text[i] & 0xC0) == 0x80:
        i -= 1
    return i


@njit(inline="always")
def filled_end(text, begin, end):  # type: ignore[no-untyped-def]
    """Where ``text[begin:end]`` ends when the white space at its end is left out."""
    i = np.int64(end)
    while i > begin:
        j = last_character(text, begin, i)
        c, _ = decode(text, j)
        if not property_word(c) & SPACE:
            break
        i = j
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def count_filled_spans(text, size):  # type: ignore[no-untyped-def]
    """How many lines of ``text[:size]`` are not empty: the room that :func:`count_lines` needs."""
    spans = np.int64(size > 0 and text[0] != 0x0A)
    for i in range(1, size):
        spans += (text[i - 1] == 0x0A) & (text[i] != 0x0A)
    return spans


@njit(cache=True, nogil=True, boundscheck=False)
def count_lines(text, size, is_ascii, spans, begins, ends, table, counts):  # type: ignore[no-untyped-def]
    """Write the counts of the lines and paragraphs of ``text[:size]`` to ``counts`` int64[COUNTS].

    ``text`` uint8 padded by 8 bytes or more; ``is_ascii``: whether all of it is. ``spans`` from
    :func:`count_filled_spans`; scratch: ``begins``, ``ends`` int32[spans], ``table``
    int32[4 * spans + 16]. Returns the bytes of the longest line.
    """
    counts[:] = 0
    longest = np.int64(0)
    mask = clear_table(table, spans)
    known = 0
    begin = np.int64(0)
    while begin <= size:
        end = next_line_feed(text, begin, size)
        longest = max(longest, end - begin)
        chars = end - begin if is_ascii else count_chars(text, begin, end)
        counts[LONG_LINES] += chars >= LONG_LINE_CHARS
        if end > begin:
            seen = seen_before(text, begin, end, begins, ends, known, table, mask)
            known += not seen
            counts[LINES] += 1
            if seen:
                counts[DUP_LINES] += 1
                counts[DUP_LINE_CHARS] += chars
            if first_filled(text, begin, end) < end:
                c, _ = decode(text, last_character(text, begin, end))
                counts[FILLED_LINES] += 1
                counts[ENDED_LINES] += (property_word(c) & TERMINAL) != 0
                counts[SHORT_LINES] += chars <= SHORT_LINE_CHARS
                if seen:
                    counts[FILLED_DUP_CHARS] += chars
        begin = end + 1
    if size > 0:
        # The empty parts before leading and after trailing line feeds equal each other.
        empty = np.int64(text[0] == 0x0A) + np.int64(text[size - 1] == 0x0A)
        counts[LINES] += empty
        counts[DUP_LINES] += empty == 2

    first = first_filled(text, 0, size)
    last = filled_end(text, first, size)
    mask = clear_table(table, spans)
    known = 0
    begin = first
    while begin < last:
        end = next_line_feed(text, begin, last)
        while end < last and text[end + 1] != 0x0A:
            end = next_line_feed(text, end + 1, last)
        seen = seen_before(text, begin, end, begins, ends, known, table, mask)
        known += not seen
        counts[PARAGRAPHS] += 1
        if seen:
            counts[DUP_PARAGRAPHS] += 1
            counts[DUP_PARAGRAPH_CHARS] += (
                end - begin if is_ascii else count_chars(text, begin, end)
            )
        begin = end
        while begin < last and text[begin] == 0x0A:
            begin += 1
    return longest
