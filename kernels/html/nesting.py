"""Depth and re-opened elements of HTML, by one scan over the bytes that keeps a stack of names.

Main-content extraction takes time proportional to the sum over elements of their depth, a parser
compares each attribute of a tag with those before it and each option of a list likewise, and it
re-opens unclosed formatting elements in every later block: so a small page can ask for hours or
gigabytes. These are bounded here by counting what the tokenizer and the tree construction of the
WHATWG HTML standard would do, simplified so that it errs on the high side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.html.names import BLANK, BYTES, EQUALS, OPTION, RAW, SLASH, TAG_END
from kernels.html.tree import (
    FOREIGN_OPEN,
    LEFT_OPEN,
    OPEN,
    STATE_SIZE,
    close_element,
    kind_of,
    open_element,
)


class Nesting(NamedTuple):
    """Counts over one document.

    ``tags``: start and end tags. ``depth``: most elements open at once, with those
    to open again. ``work``: over start tags,
    how many elements were open, and comparisons of attributes and options, in
    units that take as long. ``reopened``:
    over start tags, how many formatting elements were left open in blocks already closed.
    ``stopped``: the scan ended early because the depth limit was passed.
    """

    tags: int
    depth: int
    work: int
    reopened: int
    stopped: bool


HARMLESS_TAGS = 4000
"""With so few ``<``, depths sum to 8 million at most and 2 million elements can be opened again."""
HARMLESS_BYTES = 1 << 18
"""In so few bytes, the attributes of one tag are compared in seconds at most."""


def is_harmless(html: bytes) -> bool:
    """Whether a document is too small to ask for much work: a vector pass, about 7 GB/s."""
    if len(html) > HARMLESS_BYTES:
        return False
    if len(html) <= 3 * HARMLESS_TAGS:  # the shortest tag has three bytes
        return True
    return int(np.count_nonzero(np.frombuffer(html, dtype=np.uint8) == 60)) <= HARMLESS_TAGS


def measure(html: bytes, depth_limit: int) -> Nesting:
    """Measure ``html`` (any ASCII-compatible encoding), stopping at ``depth_limit`` open elements.

    One pass, constant memory, about 1 GB/s.
    """
    stack = np.empty((2, depth_limit + 1), dtype=np.int64)
    out = np.zeros(5, dtype=np.int64)
    scan(np.frombuffer(html, dtype=np.uint8), stack, out)
    return Nesting(int(out[0]), int(out[1]), int(out[2]), int(out[3]), bool(out[4]))


@njit(cache=True, nogil=True)
def _next_tag(text: NDArray[np.uint8], words: NDArray[np.uint64], at: int) -> int:
    """The position of the next ``<`` at or after ``at``; passes eight bytes at a time."""
    n = text.size
    while at < n:
        if text[at] == 60:
            return at
        at += 1
        if at & 7 == 0:
            w = at >> 3
            while w < words.size:
                x = words[w] ^ np.uint64(0x3C3C3C3C3C3C3C3C)
                zero = (x - np.uint64(0x0101010101010101)) & ~x & np.uint64(0x8080808080808080)
                if zero != np.uint64(0):
                    break
                w += 1
            at = w << 3
    return n


@njit(cache=True, nogil=True)
def _name(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """The packed name that starts at ``at``, and the position behind it."""
    code = np.int64(0)
    length = 0
    n = text.size
    while at < n:
        c = np.int64(text[at])
        if 65 <= c <= 90:
            c += 32
        if not (97 <= c <= 122 or 48 <= c <= 57 or c == 45 or c == 58):
            break
        if length < 8:
            code = (code << 8) | c
        length += 1
        at += 1
    return int(code), at


@njit(cache=True, nogil=True)
def _tag_end(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """The position behind the ``>`` that ends a tag, and how many attributes are before it."""
    n = text.size
    attributes = 0
    while at < n:
        kind = BYTES[text[at]]
        if kind == TAG_END:
            return at + 1, attributes
        at += 1
        if kind in (BLANK, SLASH):
            continue
        attributes += 1
        while at < n and BYTES[text[at]] == 0:
            at += 1
        while at < n and BYTES[text[at]] == BLANK:
            at += 1
        if at >= n or BYTES[text[at]] != EQUALS:
            continue
        at += 1
        while at < n and BYTES[text[at]] == BLANK:
            at += 1
        if at >= n:
            break
        quote = text[at]
        at += 1
        if quote == 34 or quote == 39:
            while at < n and text[at] != quote:
                at += 1
            at += 1
        elif quote != 62:
            while at < n and BYTES[text[at]] != BLANK and text[at] != 62:
                at += 1
        else:
            return at, attributes
    return n, attributes


@njit(cache=True, nogil=True)
def _skip_raw(text: NDArray[np.uint8], words: NDArray[np.uint64], at: int, code: int) -> int:
    """The position of the end tag that closes a raw text element, or the end."""
    n = text.size
    at = _next_tag(text, words, at)
    while at + 1 < n:
        if text[at + 1] == 47 and _name(text, at + 2)[0] == code:
            return at
        at = _next_tag(text, words, at + 1)
    return n


@njit(cache=True, nogil=True)
def _skip_comment(text: NDArray[np.uint8], at: int) -> int:
    """The position behind a comment whose ``<!--`` ends at ``at``."""
    n = text.size
    at -= 2  # <!--> and <!---> are whole comments
    while at + 2 < n:
        if text[at] == 45 and text[at + 1] == 45:
            if text[at + 2] == 62:
                return at + 3
            if text[at + 2] == 33 and at + 3 < n and text[at + 3] == 62:
                return at + 4
        at += 1
    return n


@njit(cache=True, nogil=True)
def scan(text: NDArray[np.uint8], stack: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Fill ``out`` int64[5], the fields of ``Nesting``; ``stack`` int64[2, limit + 1]: scratch."""
    n = text.size
    words = text[: n & ~7].view(np.uint64)
    at = 0
    options = 0
    state = np.zeros(STATE_SIZE, dtype=np.int64)
    while at + 1 < n:
        at = _next_tag(text, words, at)
        if at + 1 >= n:
            return
        c = text[at + 1]
        if c == 33 and at + 3 < n and text[at + 2] == 45 and text[at + 3] == 45:
            at = _skip_comment(text, at + 4)
            continue
        closing = c == 47
        start = at + 2 if closing else at + 1
        first = text[start] | 32 if start < n else 0
        if not 97 <= first <= 122:
            at += 1
            continue
        code, at = _name(text, start)
        at, attributes = _tag_end(text, at)
        out[0] += 1
        kind = kind_of(code)
        if closing:
            close_element(stack, state, code, kind)
            continue
        out[2] += state[OPEN] + (attributes * attributes >> 4)
        out[3] += state[LEFT_OPEN]
        foreign = state[FOREIGN_OPEN] > 0
        if kind & OPTION:
            options += 1
            out[2] += options >> 2
        if kind & RAW and not foreign:
            at = _skip_raw(text, words, at, code)
            continue
        if foreign and text[at - 2] == 47:
            continue  # in SVG and MathML, a tag that ends in a slash is a whole element
        open_element(stack, state, code, kind)
        out[1] = max(out[1], state[OPEN] + state[LEFT_OPEN])
        if out[1] >= stack.shape[1]:
            out[4] = 1
            return
