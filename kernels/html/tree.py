"""The stack of open elements, as HTML's tree construction keeps it, simplified to err on more.

A stack is int64[2, n]: packed names, and their kinds.

Source: WHATWG HTML, section 13.2.6.4 ("in body" and the table modes). Left out is what closes
elements that this one leaves open: so its stack is as deep as a parser's, or deeper.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.html.names import (
    ADDRESS,
    BLOCK,
    BREAKOUT,
    DD,
    DIV,
    DT,
    FOREIGN,
    FORGETS,
    FORM,
    FORMATTING,
    FORMATTING_NAMES,
    KEYS,
    KINDS,
    LI,
    MARKER,
    NUMBER,
    OL,
    OPTION,
    PART,
    SELECT,
    SPECIAL,
    TABLE,
    TD,
    TEMPLATE,
    TH,
    UL,
    VOID,
    A,
    P,
)

OPEN, LEFT_OPEN, FOREIGN_OPEN = 0, 1, 2
STATE_SIZE = 3 + FORMATTING_NAMES
"""Places in the state: open elements, formatting elements to open again, SVG and MathML open; then
the formatting elements to open again by name."""


@njit(cache=True, nogil=True)
def kind_of(code: int) -> int:
    """What kind of element a packed name is: a bit set, 0 for any other."""
    at = (code ^ (code >> 13) ^ (code >> 29)) & 255  # names.slot
    while KEYS[at] != 0:
        if KEYS[at] == code:
            return int(KINDS[at])
        at = (at + 1) & 255
    return 0


@njit(cache=True, nogil=True)
def _pop_to(stack: NDArray[np.int64], state: NDArray[np.int64], level: int) -> None:
    """Close the element at ``level`` and everything in it."""
    remembered = 1
    for i in range(level, state[OPEN]):
        kind = stack[1, i]
        if kind & FORGETS:
            remembered = 0
        if kind & FORMATTING and i > level:
            state[LEFT_OPEN] += remembered
            state[FOREIGN_OPEN + (kind >> NUMBER)] += remembered
        if kind & FOREIGN:
            state[FOREIGN_OPEN] -= 1
    state[OPEN] = level


@njit(cache=True, nogil=True)
def _remove(stack: NDArray[np.int64], state: NDArray[np.int64], level: int) -> None:
    """Close the element at ``level`` alone; what is in it stays open."""
    if stack[1, level] & FOREIGN:
        state[FOREIGN_OPEN] -= 1
    for i in range(level + 1, state[OPEN]):
        stack[0, i - 1] = stack[0, i]
        stack[1, i - 1] = stack[1, i]
    state[OPEN] -= 1


@njit(cache=True, nogil=True)
def _in_scope(stack: NDArray[np.int64], state: NDArray[np.int64], code: int) -> int:
    """The level of the innermost ``code`` that no marker stands above, or -1."""
    for level in range(state[OPEN] - 1, -1, -1):
        if stack[0, level] == code:
            return level
        if stack[1, level] & MARKER:
            return -1
    return -1


@njit(cache=True, nogil=True)
def _in_table(stack: NDArray[np.int64], state: NDArray[np.int64], one: int, other: int) -> int:
    """The level of the innermost of two table parts in the innermost table, -1 without one.

    -2 where no table is open at all.
    """
    for level in range(state[OPEN] - 1, -1, -1):
        if stack[0, level] == one or stack[0, level] == other:
            return level
        if stack[0, level] == TABLE:
            return -1
        if stack[0, level] == TEMPLATE:
            return -2
    return -2


@njit(cache=True, nogil=True)
def open_element(stack: NDArray[np.int64], state: NDArray[np.int64], code: int, kind: int) -> None:
    """A start tag: close what it implies, then put it on the stack."""
    foreign = state[FOREIGN_OPEN] > 0
    if kind & VOID and not (foreign and not kind & BREAKOUT):
        return
    if foreign:
        pass  # where names mean nothing: what HTML would close or ignore may nest
    elif kind & PART:
        other = TH if code == TD else TD if code == TH else code
        level = _in_table(stack, state, code, other)
        if level == -2:
            return  # means nothing outside of a table
        if level >= 0:
            _pop_to(stack, state, level)
    elif code in (LI, DD, DT):
        for level in range(state[OPEN] - 1, -1, -1):
            name = stack[0, level]
            above = stack[1, level]
            if name == code or (code != LI and name in (DD, DT)):
                _pop_to(stack, state, level)
                break
            if above & SPECIAL and name != ADDRESS and name != DIV and name != P:
                break
    elif code == SELECT:
        level = _in_scope(stack, state, SELECT)
        if level >= 0:
            _pop_to(stack, state, level)
            return
    elif code == A:
        level = _in_scope(stack, state, A)
        if level >= 0:
            _remove(stack, state, level)
    elif kind & OPTION and state[OPEN] > 0 and stack[0, state[OPEN] - 1] == code:
        _pop_to(stack, state, state[OPEN] - 1)
    if kind & BLOCK and not foreign:
        level = _in_scope(stack, state, P)
        if level >= 0:
            _pop_to(stack, state, level)
    if kind & FOREIGN:
        state[FOREIGN_OPEN] += 1
    stack[0, state[OPEN]] = code
    stack[1, state[OPEN]] = kind
    state[OPEN] += 1


@njit(cache=True, nogil=True)
def close_element(stack: NDArray[np.int64], state: NDArray[np.int64], code: int, kind: int) -> None:
    """An end tag: close what it reaches."""
    if kind & PART or code == TABLE:
        level = _in_table(stack, state, code, code)
        if code == TABLE and level < 0:
            level = -1
        if level >= 0:
            _pop_to(stack, state, level)
        return
    if kind & FORMATTING:
        level = _in_scope(stack, state, code)
        if level < 0:
            mine = FOREIGN_OPEN + (kind >> NUMBER)
            if state[mine] > 0 and _in_scope(stack, state, SELECT) < 0:
                state[mine] -= 1
                state[LEFT_OPEN] -= 1
            return
        for i in range(level + 1, state[OPEN]):
            if stack[1, i] & SPECIAL:
                _remove(stack, state, level)  # the adoption agency keeps what is inside open
                return
        _pop_to(stack, state, level)
        return
    if kind & SPECIAL:
        level = _in_scope(stack, state, code)
        if level < 0:
            return
        if code == FORM:
            _remove(stack, state, level)
            return
        if code == LI:
            for i in range(level + 1, state[OPEN]):
                if stack[0, i] == UL or stack[0, i] == OL:
                    return
        _pop_to(stack, state, level)
        return
    for level in range(state[OPEN] - 1, -1, -1):
        if stack[0, level] == code:
            if kind & FOREIGN:
                _remove(stack, state, level)
            else:
                _pop_to(stack, state, level)
            return
        if stack[1, level] & (SPECIAL | MARKER):
            return
