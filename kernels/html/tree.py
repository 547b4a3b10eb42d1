"""What tags of HTML open and close, as its tree construction has it, simplified.

Source: WHATWG HTML, section 13.2.6.4 ("in body" and the table modes). ``html``, ``head`` and
``body`` are never open here. Where a rule depends on what is not known here, an element that a
parser may have closed is hidden: it counts, and no end tag reaches it.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.html.foreign import close_foreign
from kernels.html.names import (
    ADDRESS,
    BLOCK,
    BUTTON,
    CAPTION,
    DD,
    DIV,
    DT,
    ENDS_ITSELF,
    ENDS_OTHERS,
    FORGETS,
    FORM,
    FORMATTING,
    H1,
    H6,
    HR,
    INPUT,
    LI,
    MARKER,
    NOBR,
    OL,
    OPTGROUP,
    OPTION_NAME,
    PART,
    RAW,
    RUBY,
    SELECT,
    SPECIAL,
    TABLE,
    TBODY,
    TD,
    TEMPLATE,
    TH,
    TR,
    UL,
    VOID,
    A,
    P,
)
from kernels.html.stack import (
    OPEN,
    current,
    forget,
    hide,
    in_scope,
    kind_of,
    move,
    pop_to,
    push,
)

ADOPTED_BLOCKS, ADOPTED_FORMATTING = 8, 3
"""Rounds of the standard's adoption agency, and formatting elements kept in one of them."""


@njit(cache=True, nogil=True)
def _in_table(stack: NDArray[np.int64], state: NDArray[np.int64], code: int) -> int:
    """The level of the innermost ``code`` in the innermost table, or of that table, or -1."""
    for level in range(state[OPEN] - 1, -1, -1):
        if stack[0, level] == code:
            return level
        if stack[0, level] == TABLE or stack[0, level] == TEMPLATE:
            return -1
    return -1


@njit(cache=True, nogil=True)
def _rank(code: int) -> int:
    """How deep a part lies in its table: 1 for a section or caption, 2 for a row, 3 for a cell."""
    return 3 if code in (TD, TH) else 2 if code == TR else 1


@njit(cache=True, nogil=True)
def _open_part(stack: NDArray[np.int64], state: NDArray[np.int64], code: int, kind: int) -> None:
    """The start tag of a part of a table: up to three elements open, as a cell needs a row."""
    table = _in_table(stack, state, TABLE)
    if table < 0:
        return  # means nothing outside of a table
    rank = _rank(code)
    around = 0
    for level in range(table + 1, state[OPEN]):
        if stack[1, level] & PART:
            if stack[0, level] == CAPTION or _rank(stack[0, level]) >= rank:
                pop_to(stack, state, level)
                break
            around = _rank(stack[0, level])
    if rank > 1 and around < 1:
        push(stack, state, TBODY, kind_of(TBODY))
    if rank > 2 and around < 2:
        push(stack, state, TR, kind_of(TR))
    push(stack, state, code, kind)


@njit(cache=True, nogil=True)
def _hide_implied(stack: NDArray[np.int64], state: NDArray[np.int64], code: int) -> None:
    """Hide what a start tag ends: the current elements whose end tags may be left out."""
    level = current(stack, state)
    while level >= 0 and stack[1, level] & ENDS_ITSELF:
        if stack[0, level] == OPTGROUP and code == OPTION_NAME:
            return
        hide(stack, level)
        level = current(stack, state)


@njit(cache=True, nogil=True)
def _adopt(stack: NDArray[np.int64], state: NDArray[np.int64], level: int) -> None:
    """Close the formatting element at ``level`` by the adoption agency, which keeps blocks open.

    What is in the last block is closed, formatting to open again. What lies around a block is
    hidden, except for the three nearest formatting elements. An eighth block ends it: behind that
    the element is open again.
    """
    block, blocks = level, 0
    around = level + 1
    for i in range(level + 1, state[OPEN]):
        if not stack[1, i] & SPECIAL:
            continue
        kept = 0
        for j in range(i - 1, around - 1, -1):
            kept += stack[1, j] & FORMATTING != 0
            if not stack[1, j] & FORMATTING or kept > ADOPTED_FORMATTING:
                hide(stack, j)
        around = i + 1
        block, blocks = i, blocks + 1
        if blocks == ADOPTED_BLOCKS:
            move(stack, level, block)
            return
    pop_to(stack, state, block)
    if blocks > 0:
        state[OPEN] = block + 1
        move(stack, level, block)
        state[OPEN] = block


@njit(cache=True, nogil=True)
def open_element(stack: NDArray[np.int64], state: NDArray[np.int64], code: int, kind: int) -> None:
    """A start tag of HTML: close what it implies, then put it on the stack."""
    if H1 <= code <= H6:
        code = H1  # as the end tag of any closes any
    if kind & VOID and not kind & BLOCK and code != INPUT:
        return
    if kind & PART:
        _open_part(stack, state, code, kind)
        return
    if code in (LI, DD, DT):
        for level in range(state[OPEN] - 1, -1, -1):
            name = stack[0, level]
            above = stack[1, level]
            if name == code or (code != LI and name in (DD, DT)):
                pop_to(stack, state, level)
                break
            if above & SPECIAL and name != ADDRESS and name != DIV and name != P:
                break
    elif code == SELECT:
        level = in_scope(stack, state, SELECT)
        if level >= 0:
            pop_to(stack, state, level)
            return
    elif code == INPUT:
        level = in_scope(stack, state, SELECT)
        if level >= 0:
            pop_to(stack, state, level)
    elif code in (A, NOBR):
        level = in_scope(stack, state, code)
        if forget(stack, state, kind, level):
            pass
        elif level >= 0:
            _adopt(stack, state, level)
        elif code == A:
            for i in range(state[OPEN] - 1, -1, -1):
                if stack[0, i] == A:
                    hide(stack, i)
                if stack[1, i] & FORGETS:
                    break
    elif code == BUTTON:
        level = in_scope(stack, state, code)
        if level >= 0:
            hide(stack, level)
    elif kind & ENDS_OTHERS:
        level = current(stack, state)
        listed = code in (OPTION_NAME, OPTGROUP)
        if listed and level >= 0 and stack[0, level] == OPTION_NAME:
            pop_to(stack, state, level)
        if in_scope(stack, state, SELECT if listed or code == HR else RUBY) >= 0:
            _hide_implied(stack, state, code)
    if kind & BLOCK:
        level = in_scope(stack, state, P)
        if level >= 0 and code == TABLE:
            hide(stack, level)  # the mode without a doctype keeps the p and what is in it
        elif level >= 0:
            pop_to(stack, state, level)
    if kind & (VOID | RAW):
        return
    if code == H1:
        level = current(stack, state)
        if level >= 0 and stack[0, level] == H1:
            hide(stack, level)
    push(stack, state, code, kind)


@njit(cache=True, nogil=True)
def close_element(stack: NDArray[np.int64], state: NDArray[np.int64], code: int, kind: int) -> None:
    """An end tag: close what it reaches."""
    if close_foreign(stack, state, code):
        return
    if H1 <= code <= H6:
        code = H1
    if kind & PART or code == TABLE:
        level = _in_table(stack, state, code)
        if level >= 0:
            pop_to(stack, state, level)
        return
    if kind & FORMATTING:
        level = in_scope(stack, state, code)
        if not forget(stack, state, kind, level) and level >= 0:
            _adopt(stack, state, level)
        return
    if kind & (SPECIAL | BLOCK):
        level = in_scope(stack, state, code)
        if level < 0:
            return
        if code == FORM:
            hide(stack, level)
            pop_to(stack, state, state[OPEN])  # closes it if nothing is in it
            return
        if code == LI:
            for i in range(level + 1, state[OPEN]):
                if stack[0, i] == UL or stack[0, i] == OL:
                    return
        pop_to(stack, state, level)
        return
    for level in range(state[OPEN] - 1, -1, -1):
        if stack[0, level] == code:
            pop_to(stack, state, level)
            return
        if stack[1, level] & (SPECIAL | MARKER):
            return
