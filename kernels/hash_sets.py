"""Overlap of sorted sets of 64-bit hashes that lie anywhere in memory, and a cheap bound on it.

A set is an address and a length, so that sets of many memory-mapped files take part in one compiled
loop without being copied together. Whoever passes an address keeps its memory mapped.

A *parity bitmap* has a bit a hash value class, flipped once for each element: two sets that differ
in d elements have bitmaps that differ in at most d bits, so the distance of the bitmaps bounds the
overlap from above (Sandes, Teodoro, Melo 2020, Bitmap Filter, the XOR variant). A bitmap is made
smaller by folding its halves onto each other, so sets of different sizes compare too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

# Merge steps between two looks at whether enough common hashes can still be found.
_STRIDE = 64
# Bitmaps have at least this many bits for each element: enough to tell two sets of similarity .75
# from .8 without touching their elements, nearly always.
_BITS_PER_ELEMENT = 8
_U6 = np.uint64(6)
_U63 = np.uint64(63)
_ONE = np.uint64(1)


@intrinsic
def _pointer(_context: Any, _address: Any) -> Any:
    """Reinterpret an integer address as a pointer to uint64."""
    result = types.CPointer(types.uint64)

    def codegen(context: Any, builder: Any, _: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.uintp), codegen


@intrinsic
def _count_ones(_context: Any, _word: Any) -> Any:
    """Set bits of a uint64."""

    def codegen(_context: Any, builder: Any, _: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@njit(nogil=True, inline="always")
def set_at(address: np.uint64, length: int) -> U64:
    """The uint64[length] that begins at a byte address, not copied."""
    view: U64 = carray(_pointer(address), (length,))
    return view


@njit(cache=True, nogil=True, boundscheck=False)
def intersection_size(a: U64, b: U64, need: int) -> int:
    """Common elements of two ascending sets without repeats, or -1 if fewer than ``need``.

    The merge is free of data-dependent branches, and stops where the rest of the shorter set can no
    longer reach ``need``. With ``need`` 0 the answer is the exact count.
    """
    n, m = a.shape[0], b.shape[0]
    i = 0
    j = 0
    common = 0
    while True:
        left = min(n - i, m - j)
        if common + left < need:
            return -1
        if left == 0:
            return common
        # A step moves each side by at most one element: `left` steps stay inside both.
        for _ in range(min(left, _STRIDE)):
            x = a[i]
            y = b[j]
            common += x == y
            i += x <= y
            j += y <= x


@njit(cache=True, nogil=True)
def bitmap_size(length: int) -> int:
    """64-bit words of the parity bitmap of a set of ``length`` elements: a power of two."""
    words = 1
    while 64 * words < _BITS_PER_ELEMENT * length:
        words *= 2
    return words


@njit(cache=True, nogil=True)
def locate_bitmaps(lengths: U32, starts: I64) -> None:
    """Starts int64[n + 1] of the bitmaps of sets of these lengths, laid one after the other."""
    starts[0] = 0
    for i in range(lengths.shape[0]):
        starts[i + 1] = starts[i] + bitmap_size(np.int64(lengths[i]))


@njit(cache=True, nogil=True, boundscheck=False)
def fill_bitmaps(values: U64, lengths: U32, starts: I64, out: U64) -> None:
    """Parity bitmaps of sets laid one after the other in ``values``; ``out`` uint64[starts[-1]]."""
    out[:] = np.uint64(0)
    at = np.int64(0)
    for d in range(lengths.shape[0]):
        first = starts[d]
        mask = np.uint64(starts[d + 1] - first - 1)
        for i in range(at, at + np.int64(lengths[d])):
            value = values[i]
            word = first + np.int64((value >> _U6) & mask)
            out[word] ^= _ONE << (value & _U63)
        at += np.int64(lengths[d])


@njit(nogil=True, boundscheck=False)
def bitmap_distance(a: U64, b: U64) -> int:
    """Differing bits of two parity bitmaps, the larger folded to the size of the smaller."""
    if a.shape[0] < b.shape[0]:
        small, large = a, b
    else:
        small, large = b, a
    words = small.shape[0]
    distance = 0
    if large.shape[0] == words:
        for i in range(words):
            distance += _count_ones(small[i] ^ large[i])
        return distance
    for i in range(words):
        word = small[i]
        for j in range(i, large.shape[0], words):
            word ^= large[j]
        distance += _count_ones(word)
    return distance
