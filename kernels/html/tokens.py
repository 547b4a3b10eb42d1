"""Where tags, comments and raw text end, as HTML's tokenizer has it.

``text`` is uint8[n], ``words`` the same bytes as uint64[n // 8]. Positions may be n: the end. A tag
or comment that the end cuts off ends there. Source: WHATWG HTML, section 13.2.5.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.html.names import (
    BLANK,
    BYTES,
    COLOR,
    ENCODING,
    ENDS_NAME,
    EQUALS,
    FACE,
    LONG_NAME,
    LONG_NAME_MULTIPLIER,
    SCRIPT,
    SIZE,
    SLASH,
    TAG_END,
)

LOOKS, ENCODED = 1, 2
"""A tag has an attribute ``color``, ``face`` or ``size``; one ``encoding``."""
DATA_START = np.frombuffer(b"<![CDATA[", dtype=np.uint8)


@njit(cache=True, nogil=True)
def next_tag(text: NDArray[np.uint8], words: NDArray[np.uint64], at: int) -> int:
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
def _read_code(text: NDArray[np.uint8], start: int, end: int) -> int:
    """The packed name (``names.pack``) between two positions."""
    code = np.int64(0)
    for i in range(start, end):
        c = np.int64(text[i])
        if 65 <= c <= 90:
            c += 32
        code = (code << 8) | c if i - start < 8 else (code ^ c) * LONG_NAME_MULTIPLIER
    return int(code | LONG_NAME if end - start > 8 else code)


@njit(cache=True, nogil=True)
def read_name(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """The packed name of the tag whose name starts at ``at``, and the position behind the name."""
    start = at
    while at < text.size and not BYTES[text[at]] & ENDS_NAME:
        at += 1
    return _read_code(text, start, at), at


@njit(cache=True, nogil=True)
def _is_named(text: NDArray[np.uint8], at: int, code: int) -> bool:
    """Whether a whole name at ``at`` is ``code``, a name of up to eight bytes."""
    end = at
    while end < text.size and end - at < 9 and not BYTES[text[end]] & ENDS_NAME:
        end += 1
    return end - at < 9 and end < text.size and _read_code(text, at, end) == code


@njit(cache=True, nogil=True)
def read_attributes(text: NDArray[np.uint8], at: int, look: bool) -> tuple[int, int, bool, int]:
    """Read from behind a tag's name to behind the ``>`` that ends it.

    Returns the position there, how many attributes it has, whether a slash that is no part of a
    value stands right before the ``>``, and, if asked to ``look``, which attributes it has that
    decide what becomes of SVG and MathML: ``LOOKS`` and ``ENCODED``, a bit set.
    """
    n = text.size
    attributes = 0
    slash, telling = False, 0
    while at < n:
        kind = BYTES[text[at]]
        if kind == TAG_END:
            return at + 1, attributes, slash, telling
        at += 1
        slash = kind == SLASH
        if kind & (BLANK | SLASH):
            continue
        attributes += 1
        start = at - 1
        while at < n and BYTES[text[at]] == 0:
            at += 1
        if look:
            code = _read_code(text, start, at)
            telling |= LOOKS if code in (COLOR, FACE, SIZE) else ENCODED if code == ENCODING else 0
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
            return at, attributes, False, telling
    return n, attributes, False, telling


@njit(cache=True, nogil=True)
def starts_comment(text: NDArray[np.uint8], at: int) -> bool:
    """Whether ``<!--`` stands where a ``<`` was found."""
    return bool(
        at + 3 < text.size and text[at + 1] == 33 and text[at + 2] == 45 and text[at + 3] == 45
    )


@njit(cache=True, nogil=True)
def skip_comment(text: NDArray[np.uint8], at: int) -> int:
    """The position behind a comment whose ``<!--`` ends at ``at``."""
    n = text.size
    first = at
    at -= 2  # <!--> and <!---> are whole comments, <!--!> is not
    while at + 2 < n:
        if text[at] == 45 and text[at + 1] == 45:
            if text[at + 2] == 62:
                return at + 3
            if text[at + 2] == 33 and at + 3 < n and text[at + 3] == 62 and at >= first:
                return at + 4
        at += 1
    return n


@njit(cache=True, nogil=True)
def skip_bogus_comment(text: NDArray[np.uint8], at: int) -> int:
    """The position behind the next ``>``: declarations, ``<?`` and malformed end tags end there."""
    n = text.size
    while at < n and text[at] != 62:
        at += 1
    return min(at + 1, n)


@njit(cache=True, nogil=True)
def starts_data(text: NDArray[np.uint8], at: int) -> bool:
    """Whether ``<![CDATA[`` stands at ``at``."""
    if at + 9 > text.size:
        return False
    same = True
    for i in range(9):
        same = same and text[at + i] == DATA_START[i]
    return same


@njit(cache=True, nogil=True)
def skip_data(text: NDArray[np.uint8], at: int) -> int:
    """The position behind the next ``]]>``, or the end."""
    n = text.size
    while at + 2 < n:
        if text[at] == 93 and text[at + 1] == 93 and text[at + 2] == 62:
            return at + 3
        at += 1
    return n


@njit(cache=True, nogil=True)
def _is_arrow(text: NDArray[np.uint8], at: int) -> bool:
    """Whether ``-->`` stands at ``at``."""
    return bool(at + 2 < text.size and text[at] == 45 and text[at + 1] == 45 and text[at + 2] == 62)


@njit(cache=True, nogil=True)
def skip_raw(text: NDArray[np.uint8], words: NDArray[np.uint64], at: int, code: int) -> int:
    """The position of the end tag that closes a raw text element, or the end.

    In a script, ``<!--`` starts an escape up to ``-->``, in which ``<script>`` hides an end tag.
    """
    n = text.size
    escaped, hidden = False, False
    while True:
        if escaped:
            while at < n and text[at] != 60 and not _is_arrow(text, at):
                at += 1
        else:
            at = next_tag(text, words, at)
        if at + 1 >= n:
            return n
        if text[at] != 60:
            escaped, hidden = False, False
        elif text[at + 1] == 47 and _is_named(text, at + 2, code):
            if not hidden:
                return at
            hidden = False
        elif escaped:
            hidden = hidden or _is_named(text, at + 1, code)
        elif code == SCRIPT and starts_comment(text, at):
            escaped = True
            at += 1  # the arrow may share its dashes, as in <!-->
        at += 1
