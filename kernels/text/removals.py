"""Spans of bytes that a cleaning step may take out of a document."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text import c4
from kernels.text.buffers import checked, padded_copy
from kernels.text.characters import control_at, look, may_hold_control8
from kernels.text.spans import load8

I64 = NDArray[np.int64]

_CAPACITY = 1 << 10


@njit(cache=True, nogil=True)
def _push(spans, n, document, begin, end):  # type: ignore[no-untyped-def]
    # Append a span, or lengthen the last one that it touches. Returns the array and its new size.
    if n > 0 and spans[n - 1, 0] == document and spans[n - 1, 1] + spans[n - 1, 2] == begin:
        spans[n - 1, 2] += end - begin
        return spans, n
    if n == spans.shape[0]:
        grown = np.empty((2 * n, 3), np.int64)
        grown[:n] = spans
        spans = grown
    spans[n, 0] = document
    spans[n, 1] = begin
    spans[n, 2] = end - begin
    return spans, n + 1


@njit(cache=True, nogil=True)
def _control_spans(data, offsets):  # type: ignore[no-untyped-def]
    spans = np.empty((_CAPACITY, 3), np.int64)
    n = 0
    for document in range(offsets.shape[0] - 1):
        first, last = offsets[document], offsets[document + 1]
        i = first
        while i < last:
            if i + 8 <= last and not may_hold_control8(load8(data, i)):
                i += 8
                continue
            step = control_at(data, i, last)
            if step:
                spans, n = _push(spans, n, document, i - first, i - first + step)
            i += max(step, 1)
    return spans[:n].copy()


@njit(cache=True, nogil=True)
def _line_spans(data, offsets, removing, min_words):  # type: ignore[no-untyped-def]
    spans = np.empty((_CAPACITY, 3), np.int64)
    n = 0
    text = np.empty(0, np.uint8)
    clean = np.empty(0, np.uint8)
    for document in range(offsets.shape[0] - 1):
        text, size = padded_copy(data, offsets[document], offsets[document + 1], text)
        if clean.shape[0] < text.shape[0]:
            clean = np.empty(text.shape[0], np.uint8)
        looks = look(text, size)
        following = np.int64(0)
        while following < size:
            begin = following
            _, following, first, last, words, too_long = c4.split_line(text, size, begin)
            guilt, _ = c4.judge_line(text, first, last, too_long, looks, clean)
            if guilt & removing or words < min_words:
                spans, n = _push(spans, n, document, begin, following)
    return spans[:n].copy()


def _columns(spans: I64) -> tuple[I64, I64, I64]:
    return spans[:, 0].copy(), spans[:, 1].copy(), spans[:, 2].copy()


def control_spans(data: NDArray[np.uint8], offsets: NDArray[np.integer]) -> tuple[I64, I64, I64]:
    """Find the control characters other than tab, line feed and carriage return.

    They are U+0000 .. U+001F and U+007F .. U+009F. Returns ``document``, ``start``, ``length``
    (int64 each): runs of them, in bytes of their document, in order.
    """
    data, offsets = checked(data, offsets)
    return _columns(_control_spans(data, offsets))


def c4_line_spans(
    data: NDArray[np.uint8],
    offsets: NDArray[np.integer],
    *,
    terminal_punctuation: bool = True,
    min_words: int = 3,
) -> tuple[I64, I64, I64]:
    """Find the lines that C4's line rules remove (see :mod:`kernels.text.c4`).

    A line goes for a word of more than 1,000 characters, for fewer than ``min_words`` words, for
    "javascript", for a phrase about cookies, privacy or terms of use, and, with
    ``terminal_punctuation`` (C4; FineWeb goes without), for not ending as a sentence does.

    Returns ``document``, ``start``, ``length`` (int64 each): runs of such lines with their line
    breaks, in bytes of their document, in order. Citation marks and the white space around kept
    lines stay.
    """
    data, offsets = checked(data, offsets)
    removing = c4.REMOVING | (c4.UNPUNCTUATED if terminal_punctuation else 0)
    return _columns(
        _line_spans(
            data,
            offsets,
            removing,
            min_words,
        )
    )
