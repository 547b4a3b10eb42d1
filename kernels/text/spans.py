"""Byte spans of a document: finding, hashing and comparing them eight bytes at a time.

Every buffer here is uint8 with at least 8 readable bytes after its last used one. Bytes are read
in little-endian order, as on every CPU that Numba supports; results do not depend on hash values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_LOWS = np.uint64(0x7F7F7F7F7F7F7F7F)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_U29 = np.uint64(29)
_U32 = np.uint64(32)
_ONE = np.uint64(1)


@intrinsic
def load8(_typing: Any, array: Any, _index: Any) -> Any:
    """The eight bytes from ``array[index]`` on as one uint64, at any alignment."""
    signature = types.uint64(array, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        place = cgutils.gep_inbounds(builder, data, arguments[1])
        wide = builder.bitcast(place, ir.IntType(64).as_pointer())
        return builder.load(wide, align=1)

    return signature, generate


@intrinsic
def popcount(_typing: Any, _value: Any) -> Any:
    """The bits that are set in a uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@njit(inline="always")
def equal8(v, byte):  # type: ignore[no-untyped-def]
    """The high bit of each of the eight bytes in ``v`` (uint64) that equals ``byte``."""
    v = v ^ (_ONES * np.uint64(byte))
    return ~(((v & _LOWS) + _LOWS) | v | _LOWS)


@njit(inline="always")
def first_high(marks):  # type: ignore[no-untyped-def]
    """How many of eight bytes come before the first whose high bit is set in ``marks``; 8 if none.

    ``marks`` uint64, high bits of bytes only.
    """
    return popcount((marks & (~marks + _ONE)) - _ONE) >> 3


@njit(inline="always")
def front(count):  # type: ignore[no-untyped-def]
    """The mask of the first ``count`` of eight bytes, 1 .. 8."""
    return _ALL >> np.uint64(8 * (8 - count))


@njit(inline="always")
def same_bytes(text, a, b, length):  # type: ignore[no-untyped-def]
    """Whether ``length`` bytes at ``a`` and at ``b`` are equal."""
    i = np.int64(0)
    while i + 8 <= length:
        if load8(text, a + i) != load8(text, b + i):
            return False
        i += 8
    if i == length:
        return True
    return (load8(text, a + i) ^ load8(text, b + i)) & front(length - i) == 0


@njit(inline="always")
def hash_bytes(text, begin, end):  # type: ignore[no-untyped-def]
    """A 64-bit hash of ``text[begin:end]`` for tables in memory; equal spans must be compared."""
    h = np.uint64(end - begin) * _MULTIPLIER
    i = np.int64(begin)
    while i + 8 <= end:
        h = (h ^ load8(text, i)) * _MULTIPLIER
        h ^= h >> _U29
        i += 8
    if i < end:
        h = (h ^ (load8(text, i) & front(end - i))) * _MULTIPLIER
        h ^= h >> _U29
    return h ^ (h >> _U32)


@njit(inline="always")
def holds(text, begin, end, byte):  # type: ignore[no-untyped-def]
    """Whether ``byte`` is in ``text[begin:end]``."""
    i = np.int64(begin)
    while i + 8 <= end:
        if equal8(load8(text, i), byte):
            return True
        i += 8
    return i < end and equal8(load8(text, i), byte) & front(end - i) != 0


@njit(inline="always")
def next_line_feed(text, begin, end):  # type: ignore[no-untyped-def]
    """The place of the first line feed in ``text[begin:end]``; ``end`` if there is none."""
    i = np.int64(begin)
    while i < end:
        feeds = equal8(load8(text, i), 0x0A)
        if feeds:
            i += first_high(feeds)
            break
        i += 8
    return min(i, end)


@njit(inline="always")
def count_chars(text, begin, end):  # type: ignore[no-untyped-def]
    """Characters in ``text[begin:end]``: its bytes that continue no other."""
    continued = np.int64(0)
    i = np.int64(begin)
    while i + 8 <= end:
        v = load8(text, i)
        continued += popcount(v & ~(v << _ONE) & _HIGHS)
        i += 8
    if i < end:
        v = load8(text, i) & front(end - i)
        continued += popcount(v & ~(v << _ONE) & _HIGHS)
    return end - begin - continued


@njit(inline="always")
def clear_table(table, entries):  # type: ignore[no-untyped-def]
    """Empty the front of ``table`` (int32) for ``entries`` keys; return the mask of its slots."""
    slots = 16
    while slots < 2 * entries:
        slots *= 2
    for i in range(slots):
        table[i] = -1
    return np.uint64(slots - 1)


@njit(inline="always")
def seen_before(text, begin, end, begins, ends, known, table, mask):  # type: ignore[no-untyped-def]
    """Whether ``text[begin:end]`` equals one of the ``known`` spans; if not, it becomes one.

    ``begins``, ``ends`` int32: the known spans; the caller counts them. ``table``, ``mask``: from
    :func:`clear_table`.
    """
    slot = hash_bytes(text, begin, end) & mask
    while True:
        other = table[slot]
        if other < 0:
            table[slot] = known
            begins[known] = begin
            ends[known] = end
            return False
        if ends[other] - begins[other] == end - begin and same_bytes(
            text, begins[other], begin, end - begin
        ):
            return True
        slot = (slot + _ONE) & mask
