"""Greedy selection over 64-bit hashes that are near when few bits differ, by shared buckets.

As in :mod:`kernels.leaders`: items are numbered in survivor order; an item is removed by the first
*leader* of its buckets that is near to it, and becomes a leader of each of its buckets if none is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
U8 = NDArray[np.uint8]


@njit(cache=True, nogil=True, inline="always")
def bits_set(word: np.uint64) -> Any:
    """How many of 64 bits are set (Warren, Hacker's Delight, section 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    word = (word & pairs) + ((word >> np.uint64(2)) & pairs)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True, inline="always")
def alike(width: int, height: int, other_width: int, other_height: int, parts: int) -> bool:
    """Whether two aspects differ by at most one part of ``parts`` of the larger."""
    left, right = width * other_height, other_width * height
    return abs(left - right) * parts <= max(left, right)


@njit(cache=True, nogil=True, boundscheck=False)
def within(left: U8, right: U8, levels: int) -> bool:
    """Whether no byte of one differs by more than ``levels`` from the other's."""
    i = 0
    while i < left.shape[0] and abs(np.int64(left[i]) - np.int64(right[i])) <= levels:
        i += 1
    return bool(i == left.shape[0])


@njit(cache=True, nogil=True, boundscheck=False)
def select_near(
    hashes: U64,
    widths: I32,
    heights: I32,
    doc_starts: I64,
    doc_buckets: U32,
    bucket_starts: I64,
    leaders: U32,
    filled: U32,
    thumbnails: U8,
    place: U32,
    most_bits: int,
    parts: int,
    levels: int,
    survivor: I64,
    distance: I64,
) -> int:
    """Find for each item the smallest kept item that is near to it; returns the pairs compared.

    ``hashes`` uint64[n], ``widths`` and ``heights`` int32[n] in survivor order. Item ``u`` is in
    buckets ``doc_buckets[doc_starts[u]:doc_starts[u + 1]]``; ``leaders`` uint32 has room for the
    members of bucket ``g`` from ``bucket_starts[g]`` on, of which ``filled[g]`` (0 at first) are
    written, ascending. Near are two items that share a bucket, whose hashes differ in at most
    ``most_bits`` bits, whose aspects are :func:`alike` and whose thumbnails, rows ``place[u]`` of
    ``thumbnails`` uint8[m, size], are :func:`within` ``levels`` of each other (with no thumbnails
    at all, m = 0, that is not asked). ``survivor`` int64[n] gets the item that removes each, or -1;
    ``distance`` int64[n] the bits between the two.
    """
    compared = 0
    for u in range(hashes.shape[0]):
        best = np.int64(-1)
        bits_to_best = np.int64(0)
        for s in range(doc_starts[u], doc_starts[u + 1]):
            start = bucket_starts[doc_buckets[s]]
            for at in range(start, start + np.int64(filled[doc_buckets[s]])):
                v = np.int64(leaders[at])
                if best >= 0 and v >= best:
                    break
                compared += 1
                bits = bits_set(hashes[u] ^ hashes[v])
                if bits > most_bits or not alike(
                    np.int64(widths[u]),
                    np.int64(heights[u]),
                    np.int64(widths[v]),
                    np.int64(heights[v]),
                    parts,
                ):
                    continue
                if thumbnails.shape[0] == 0 or within(
                    thumbnails[place[u]], thumbnails[place[v]], levels
                ):
                    best, bits_to_best = v, bits
                    break
        survivor[u], distance[u] = best, bits_to_best
        if best < 0:
            for s in range(doc_starts[u], doc_starts[u + 1]):
                g = doc_buckets[s]
                leaders[bucket_starts[g] + np.int64(filled[g])] = np.uint32(u)
                filled[g] += np.uint32(1)
    return compared
