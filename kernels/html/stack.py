"""The stack of open elements, and the formatting elements that a parser is to open again.

A stack is int64[3, n]: packed names, their kinds, and how many formatting elements were to open
again when they were opened. The state is int64[``STATE_SIZE``]. Source: WHATWG HTML, sections
13.2.4.2 and 13.2.4.3 (stack of open elements, list of active formatting elements).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.html.names import (
    FORGETS,
    FORMATTING,
    FORMATTING_NAMES,
    KEYS,
    KINDS,
    MARKER,
    NUMBER,
    PART,
    SELECT,
    TABLE,
)

OPEN, LEFT_OPEN = 0, 1
HIDDEN = 0
"""The name of an element that no rule sees any more: see ``hide``."""
STATE_SIZE = 2 + FORMATTING_NAMES
"""Places in the state: open elements, formatting elements to open again, and then the latter by
name, numbered from 1."""


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
def push(stack: NDArray[np.int64], state: NDArray[np.int64], code: int, kind: int) -> None:
    """Open an element in what is open."""
    level = state[OPEN]
    stack[0, level] = code
    stack[1, level] = kind
    stack[2, level] = state[LEFT_OPEN]
    state[OPEN] += 1


@njit(cache=True, nogil=True)
def pop_to(stack: NDArray[np.int64], state: NDArray[np.int64], level: int) -> None:
    """Close the element at ``level`` and everything in it.

    Formatting elements left open in it are to open again, but for those in an element that forgets
    them. A table's end closes an ``object`` without making it forget, and then what the cell around
    it would forget is not forgotten either: the standard clears its list up to the last marker.
    """
    forgets = True
    for i in range(level + 1, state[OPEN]):
        if stack[1, i] & FORGETS and not stack[1, i] & PART:
            forgets = False
    remembered = 1
    for i in range(level, state[OPEN]):
        kind = stack[1, i]
        if kind & FORGETS and forgets:
            remembered = 0
        if kind & FORMATTING and i > level:
            state[LEFT_OPEN] += remembered
            state[LEFT_OPEN + (kind >> NUMBER)] += remembered
    while level > 0 and stack[0, level - 1] == HIDDEN:
        level -= 1
    state[OPEN] = level


@njit(cache=True, nogil=True)
def move(stack: NDArray[np.int64], level: int, into: int) -> None:
    """Take the element at ``level`` out of its place and put it right into the one at ``into``."""
    name, kind, before = stack[0, level], stack[1, level], stack[2, level]
    for i in range(level, into):
        stack[:, i] = stack[:, i + 1]
    stack[0, into], stack[1, into], stack[2, into] = name, kind, before


@njit(cache=True, nogil=True)
def hide(stack: NDArray[np.int64], level: int) -> None:
    """Close the element at ``level`` to the rules, while what is open in it still lies in it.

    A nameless element stays in its place, and is closed when what is in it is. Where a parser may
    have closed an element this is on the safe side: no later end tag reaches it, and with it what
    the parser holds open by then.
    """
    stack[0, level] = HIDDEN
    stack[1, level] = 0


@njit(cache=True, nogil=True)
def current(stack: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """The level of the innermost element that is not hidden, or -1."""
    level = state[OPEN] - 1
    while level >= 0 and stack[0, level] == HIDDEN:
        level -= 1
    return int(level)


@njit(cache=True, nogil=True)
def in_scope(stack: NDArray[np.int64], state: NDArray[np.int64], code: int) -> int:
    """The level of the innermost ``code`` that no marker stands above, or -1."""
    for level in range(state[OPEN] - 1, -1, -1):
        if stack[0, level] == code:
            return level
        if stack[1, level] & MARKER:
            return -1
    return -1


@njit(cache=True, nogil=True)
def forget(stack: NDArray[np.int64], state: NDArray[np.int64], kind: int, level: int) -> bool:
    """Whether a formatting element of a name was left open after the open one at ``level`` opened.

    The last one is then not to open again. ``level`` may be -1, for no open one: then whether one
    was left open since the innermost element opened that forgets, or a ``select`` or ``table``.
    """
    before = 0
    if level >= 0:
        before = stack[2, level]
    else:
        for i in range(state[OPEN] - 1, -1, -1):
            if stack[1, i] & FORGETS or stack[0, i] in (SELECT, TABLE):
                before = stack[2, i]
                break
    mine = LEFT_OPEN + (kind >> NUMBER)
    if state[mine] == 0 or state[LEFT_OPEN] <= before:
        return False
    state[mine] -= 1
    state[LEFT_OPEN] -= 1
    return True
