"""SVG and MathML inside HTML, where other elements may nest and other names be empty.

Source: WHATWG HTML, section 13.2.6.5 (tokens in foreign content) and the dispatcher of 13.2.6.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.html.names import (
    ALIEN,
    ANNOTATION,
    BR,
    DESC,
    FOREIGN_OBJECT,
    INTEGRATION,
    MALIGNMARK,
    MARKER,
    MATH,
    MATHEMATICAL,
    MGLYPH,
    MI,
    MN,
    MO,
    MS,
    MTEXT,
    SPECIAL,
    SVG,
    TITLE,
    P,
)
from kernels.html.stack import HIDDEN, current, pop_to, push


@njit(cache=True, nogil=True)
def is_alien(stack: NDArray[np.int64], state: NDArray[np.int64]) -> bool:
    """Whether the current element is one of SVG or MathML."""
    level = current(stack, state)
    return bool(level >= 0 and stack[1, level] & ALIEN)


@njit(cache=True, nogil=True)
def in_foreign(stack: NDArray[np.int64], state: NDArray[np.int64], code: int) -> bool:
    """Whether a start tag makes an element of SVG or MathML, unless its name is a ``BREAKOUT``."""
    level = current(stack, state)
    if level < 0 or not stack[1, level] & ALIEN:
        return False
    if stack[1, level] & MATHEMATICAL:
        if code in (MGLYPH, MALIGNMARK):
            return True
        if code == SVG and stack[0, level] == ~ANNOTATION:
            return False
    return not stack[1, level] & INTEGRATION


@njit(cache=True, nogil=True)
def break_out(stack: NDArray[np.int64], state: NDArray[np.int64]) -> None:
    """Close elements of SVG and MathML up to HTML or one whose content is HTML."""
    level = current(stack, state)
    while level >= 0 and stack[1, level] & ALIEN and not stack[1, level] & INTEGRATION:
        pop_to(stack, state, level)
        level = current(stack, state)


@njit(cache=True, nogil=True)
def open_foreign(
    stack: NDArray[np.int64], state: NDArray[np.int64], code: int, foreign: bool, encoded: int
) -> None:
    """A start tag of an SVG or MathML element: in another of these if ``foreign``, or the first.

    ``encoded``: it has an attribute ``encoding``, taken to be one that says HTML.
    """
    if foreign:
        mathematical = stack[1, current(stack, state)] & MATHEMATICAL
    else:
        mathematical = MATHEMATICAL if code == MATH else 0
    mine = ALIEN | mathematical
    if mathematical:
        if code in (MI, MO, MN, MS, MTEXT):
            mine |= INTEGRATION | SPECIAL | MARKER
        elif code == ANNOTATION:
            mine |= SPECIAL | MARKER
            if encoded:
                mine |= INTEGRATION
    elif code in (DESC, TITLE, FOREIGN_OBJECT):
        mine |= INTEGRATION | SPECIAL | MARKER
    push(stack, state, ~code, mine)


@njit(cache=True, nogil=True)
def close_foreign(stack: NDArray[np.int64], state: NDArray[np.int64], code: int) -> bool:
    """An end tag in SVG or MathML. Returns whether it was for an element of these."""
    level = current(stack, state)
    if level >= 0 and stack[1, level] & ALIEN and code in (P, BR):
        break_out(stack, state)
        return False
    while level >= 0 and (stack[1, level] & ALIEN or stack[0, level] == HIDDEN):
        if stack[0, level] == ~code:
            pop_to(stack, state, level)
            return True
        level -= 1
    return False
