"""Greedy selection of survivors over buckets, each pair compared once and only when needed.

Documents are numbered 0, 1, ... in survivor order. A *leader* of a bucket is a member that is kept.
A document is removed by the first leader, over all its buckets, whose shingle set is close enough;
if there is none it is kept and becomes a leader of each of its buckets. Taken one document after
the other this gives the lexicographically first maximal independent set of the graph of verified
pairs. A *round* takes many documents at once: :func:`probe` compares each with the leaders of
earlier rounds, in any order, then :func:`settle` compares the rest with each other, in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.hash_sets import bitmap_distance, intersection_size, set_at

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

# What `counts` int64[>= 4] counts: distinct pairs looked at, those that their sizes alone reject,
# those that their bitmaps reject, those whose sets were intersected.
PAIRS, SIZE_REJECTED, BITMAP_REJECTED, COMPARED = 0, 1, 2, 3


class BucketGraph(NamedTuple):
    """Who shares a bucket with whom, in compressed rows, and where the shingle sets lie.

    Document ``u`` is in buckets ``doc_buckets[doc_starts[u]:doc_starts[u + 1]]``. The leaders of
    bucket ``g``, ascending, are ``leaders[bucket_starts[g]:bucket_starts[g] + filled[g]]``, with
    room for every member. ``addresses`` and ``lengths`` (elements) locate sorted uint64 sets,
    ``bitmaps`` and ``bitmap_words`` (64-bit words) their parity bitmaps.
    """

    doc_starts: I64
    doc_buckets: U32
    bucket_starts: I64
    leaders: U32
    filled: U32
    addresses: U64
    lengths: U32
    bitmaps: U64
    bitmap_words: U32


@njit(nogil=True, inline="always")
def _signed(value: np.uint32) -> Any:
    # Numba turns arithmetic on a signed and an unsigned integer into floating point.
    return np.int64(value)


@njit(nogil=True, boundscheck=False)
def _gather_lists(
    graph: BucketGraph, u: int, least: int, heads: I64, ends: I64, fronts: I64
) -> int:
    """Where the leaders not below ``least`` lie in each bucket of ``u``, and the first of each.

    Returns the number of buckets that have any.
    """
    lists = 0
    for s in range(graph.doc_starts[u], graph.doc_starts[u + 1]):
        g = graph.doc_buckets[s]
        head = graph.bucket_starts[g]
        end = head + _signed(graph.filled[g])
        stop = end if least > 0 else head
        while head < stop:
            middle = (head + stop) // 2
            if graph.leaders[middle] < least:
                head = middle + 1
            else:
                stop = middle
        if head < end:
            heads[lists] = head
            ends[lists] = end
            fronts[lists] = graph.leaders[head]
            lists += 1
    return lists


@njit(nogil=True, boundscheck=False)
def _first_close_leader(
    graph: BucketGraph,
    u: int,
    least: int,
    numerator: int,
    denominator: int,
    scratch: I64,
    counts: I64,
) -> tuple[int, int]:
    """First leader not below ``least`` with Jaccard >= numerator/denominator, and the overlap.

    (-1, 0) if there is none. The ascending leader lists of the document's buckets are merged, so a
    leader met in several buckets is compared once. ``scratch`` int64[3, most buckets of one].
    """
    heads, ends, fronts = scratch[0], scratch[1], scratch[2]
    lists = _gather_lists(graph, u, least, heads, ends, fronts)
    own = _signed(graph.lengths[u])
    own_set = set_at(graph.addresses[u], own)
    own_bitmap = set_at(graph.bitmaps[u], _signed(graph.bitmap_words[u]))
    weight = numerator + denominator
    while lists > 0:
        v = fronts[0]
        for i in range(1, lists):
            v = min(v, fronts[i])
        i = 0
        while i < lists:
            if fronts[i] == v:
                heads[i] += 1
                if heads[i] == ends[i]:
                    lists -= 1
                    heads[i], ends[i], fronts[i] = heads[lists], ends[lists], fronts[lists]
                    continue
                fronts[i] = graph.leaders[heads[i]]
            i += 1
        counts[PAIRS] += 1
        other = _signed(graph.lengths[v])
        both = own + other
        # overlap / (|A| + |B| - overlap) >= p / q  <=>  overlap * (p + q) >= p * (|A| + |B|)
        if min(own, other) * weight < numerator * both:
            counts[SIZE_REJECTED] += 1
            continue
        bitmap = set_at(graph.bitmaps[v], _signed(graph.bitmap_words[v]))
        # distance <= |A| + |B| - 2 * overlap
        if (both - bitmap_distance(own_bitmap, bitmap)) * weight < 2 * numerator * both:
            counts[BITMAP_REJECTED] += 1
            continue
        counts[COMPARED] += 1
        need = max(1, (numerator * both + weight - 1) // weight)
        overlap = intersection_size(own_set, set_at(graph.addresses[v], other), need)
        if overlap >= need:
            return v, overlap
    return -1, 0


@njit(cache=True, nogil=True, boundscheck=False)
def probe(
    graph: BucketGraph,
    first: int,
    last: int,
    width: int,
    numerator: int,
    denominator: int,
    survivor: I64,
    overlap: I64,
    counts: I64,
) -> None:
    """Compare documents ``first .. last - 1`` with the leaders of earlier rounds.

    ``width`` is the most buckets a document is in. ``survivor`` and ``overlap``, int64[documents],
    get the leader that removes a document (-1: none) and the size of the intersection. Reads
    leaders and changes none: slices of a round may run in parallel.
    """
    scratch = np.empty((3, width), np.int64)
    for u in range(first, last):
        survivor[u], overlap[u] = _first_close_leader(
            graph, u, 0, numerator, denominator, scratch, counts
        )


@njit(cache=True, nogil=True, boundscheck=False)
def settle(
    graph: BucketGraph,
    first: int,
    last: int,
    width: int,
    numerator: int,
    denominator: int,
    survivor: I64,
    overlap: I64,
    counts: I64,
) -> None:
    """Finish a round: compare what :func:`probe` left with the round's own leaders, in order.

    Arguments as for :func:`probe`. Documents that stay join the leaders of their buckets.
    """
    scratch = np.empty((3, width), np.int64)
    for u in range(first, last):
        if survivor[u] >= 0:
            continue
        survivor[u], overlap[u] = _first_close_leader(
            graph, u, first, numerator, denominator, scratch, counts
        )
        if survivor[u] < 0:
            for s in range(graph.doc_starts[u], graph.doc_starts[u + 1]):
                g = graph.doc_buckets[s]
                graph.leaders[graph.bucket_starts[g] + _signed(graph.filled[g])] = np.uint32(u)
                graph.filled[g] += np.uint32(1)
