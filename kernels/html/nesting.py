"""Depth and re-opened elements of HTML, by one scan over the bytes that keeps a stack of names.

Main-content extraction takes time proportional to the sum over elements of their depth, and a
parser re-opens unclosed formatting elements in every later block, so a small page can ask for
hours or gigabytes. Both are bounded here by counting what the tree construction of the WHATWG HTML
standard would do, simplified so that it errs on the high side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.html.names import FLAT, FORMATTING, KEYS, KINDS, MARKER, RAW


class Nesting(NamedTuple):
    """Counts over one document.

    ``tags``: start and end tags. ``depth``: most elements open at once, not counting void
    elements and those with an optional end tag. ``depth_sum``: over start tags, how many were open.
    ``reopened``: over start tags, how many formatting elements were left open in blocks already
    closed. ``stopped``: the scan ended early because the depth limit was passed.
    """

    tags: int
    depth: int
    depth_sum: int
    reopened: int
    stopped: bool


HARMLESS = 4000
"""With so few ``<``, depths sum to 8 million at most and 2 million elements can be opened again."""


def count_tags(html: bytes) -> int:
    """How many ``<`` a document holds: a vector pass, about 7 GB/s."""
    return int(np.count_nonzero(np.frombuffer(html, dtype=np.uint8) == 60))


def measure(html: bytes, depth_limit: int) -> Nesting:
    """Measure ``html`` (any ASCII-compatible encoding), stopping at ``depth_limit`` open elements.

    One pass, constant memory, about 1 GB/s.
    """
    stack = np.empty(depth_limit + 1, dtype=np.int64)
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
def _kind(code: int) -> int:
    """What kind of element a packed name is: a bit set of the constants below, 0 for others."""
    slot = (code ^ (code >> 13) ^ (code >> 29)) & 255  # names.slot
    while KEYS[slot] != 0:
        if KEYS[slot] == code:
            return int(KINDS[slot])
        slot = (slot + 1) & 255
    return 0


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
def _tag_end(text: NDArray[np.uint8], at: int) -> int:
    """The position behind the ``>`` that ends a tag, minding quoted attribute values."""
    n = text.size
    while at < n:
        c = text[at]
        at += 1
        if c == 62:
            return at
        if c == 34 or c == 39:
            before = at - 2
            while text[before] <= 32:
                before -= 1
            if text[before] == 61:  # a quote elsewhere is part of a name or of an unquoted value
                while at < n and text[at] != c:
                    at += 1
                at += 1
    return n


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
        if text[at] == 45 and text[at + 1] == 45 and text[at + 2] == 62:
            return at + 3
        at += 1
    return n


@njit(cache=True, nogil=True)
def scan(text: NDArray[np.uint8], stack: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Fill ``out`` int64[5], the fields of ``Nesting``; ``stack`` int64[limit + 1] is scratch."""
    n = text.size
    words = text[: n & ~7].view(np.uint64)
    at = 0
    open_elements = 0
    left_open = 0
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
        at = _tag_end(text, at)
        out[0] += 1
        if closing:
            level = open_elements - 1
            while level >= 0 and stack[level] != code:
                if _kind(stack[level]) & MARKER:
                    level = -1
                    break
                level -= 1
            if level >= 0:
                for i in range(level + 1, open_elements):
                    if _kind(stack[i]) & FORMATTING:
                        left_open += 1
                open_elements = level
            elif left_open > 0 and _kind(code) & FORMATTING:
                left_open -= 1
            continue
        out[2] += open_elements
        out[3] += left_open
        kind = _kind(code)
        if kind & FLAT:
            continue
        if kind & RAW:
            at = _skip_raw(text, words, at, code)
            continue
        stack[open_elements] = code
        open_elements += 1
        if open_elements > out[1]:
            out[1] = open_elements
            if open_elements == stack.size:
                out[4] = 1
                return
