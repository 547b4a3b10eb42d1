"""Weighted sums over the hashed words and byte 4-grams of each document, in integers alone.

What a linear model over text needs, without a feature vector in between. A document has two blocks,
its words and its 4-grams of bytes. Of each block the buckets are counted, and the weights of the
buckets that occur are added, each times the square root of its count over the square root of all
counts: the document's vector of damped counts, brought to length 1. Square roots are tables of
whole numbers and sums are of whole numbers, so that every machine and every order of addition gives
the same.

Only the first ``PREFIX_BYTES`` of a document are read: an enormous one costs no more, and no sum
can leave its integer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text import segment as w
from kernels.text.buffers import PADDING, checked
from kernels.text.spans import load8

PREFIX_BYTES = 1 << 15
GRAM_BYTES = 4
ROOT_BITS = 8
"""Square roots of counts are in units of 2^-8."""
NORM_BITS = 20
"""Reciprocal square roots of a block's total are in units of 2^-20."""

WORD_MIX = 0xD6E8FEB86659FD93
GRAM_MIX = 0x9E3779B97F4A7C15
_WORD_MIX = np.uint64(WORD_MIX)
_GRAM_MIX = np.uint64(GRAM_MIX)
_GRAM_MASK = np.uint64((1 << 8 * GRAM_BYTES) - 1)

I8 = NDArray[np.int8]
I64 = NDArray[np.int64]


class GramCounts(NamedTuple):
    """Which buckets of a block occur in each document, and how often.

    ``buckets`` int32[total] and ``counts`` int32[total], of a document in the order in which they
    first occur; those of document i stand at ``places[i]:places[i + 1]`` (int64[documents + 1]).
    """

    buckets: NDArray[np.int32]
    counts: NDArray[np.int32]
    places: I64


def _tables() -> tuple[NDArray[np.int32], I64]:
    # IEEE square roots and quotients are exact to the last bit on every machine, so these are too.
    roots = np.sqrt(np.arange(PREFIX_BYTES + 1, dtype=np.float64))
    inverse = np.zeros(PREFIX_BYTES + 1)
    inverse[1:] = (1 << NORM_BITS) / roots[1:]
    return np.rint(roots * (1 << ROOT_BITS)).astype(np.int32), np.rint(inverse).astype(np.int64)


ROOTS, INVERSE_ROOTS = _tables()
"""round(2^8 √c) and round(2^20 / √c) for c of 0 to ``PREFIX_BYTES``; 0 for c = 0."""


@njit(inline="always")
def _prefix_size(data, begin, end):  # type: ignore[no-untyped-def]
    # The bytes that are read: PREFIX_BYTES at most, cut before a character and not inside it.
    size = end - begin
    if size <= PREFIX_BYTES:
        return size
    size = PREFIX_BYTES
    while size > PREFIX_BYTES - 4 and data[begin + size] & 0xC0 == 0x80:
        size -= 1
    return size


@njit(inline="always")
def _count_bucket(bucket, counts, touched, found):  # type: ignore[no-untyped-def]
    # Written without a branch: whether a bucket is new is what a processor cannot guess.
    touched[found] = bucket
    found += counts[bucket] == 0
    counts[bucket] += 1
    return found


@njit(cache=True, nogil=True)
def _count_words(folded, n, shift, counts, touched):  # type: ignore[no-untyped-def]
    found = 0
    for i in range(n):
        bucket = np.int64((folded[i] * _WORD_MIX) >> shift)
        found = _count_bucket(bucket, counts, touched, found)
    return found


@njit(cache=True, nogil=True)
def _count_grams(text, size, shift, counts, touched):  # type: ignore[no-untyped-def]
    found = 0
    for i in range(size - GRAM_BYTES + 1):
        bucket = np.int64(((load8(text, i) & _GRAM_MASK) * _GRAM_MIX) >> shift)
        found = _count_bucket(bucket, counts, touched, found)
    return found


@njit(cache=True, nogil=True)
def _add(weights, counts, touched, found, roots, partial):  # type: ignore[no-untyped-def]
    # Adds int8 weights times roots of counts to partial int32[outputs], and empties the counts.
    # At most 2^15 buckets of 2^7 times 2^8: 2^30.
    partial[:] = 0
    for i in range(found):
        bucket = touched[i]
        root = roots[counts[bucket]]
        counts[bucket] = 0
        for j in range(weights.shape[1]):
            partial[j] += np.int32(weights[bucket, j]) * root


@njit(cache=True, nogil=True)
def _sums(  # type: ignore[no-untyped-def]
    data,
    offsets,
    word_weights,
    word_shift,
    gram_weights,
    gram_shift,
    roots,
    inverse,
    words_out,
    grams_out,
):
    text = np.zeros(PREFIX_BYTES + PADDING, np.uint8)
    words = w.new_words(PREFIX_BYTES + 1)
    state = np.zeros(w.STATE, np.int64)
    word_counts = np.zeros(word_weights.shape[0], np.int32)
    gram_counts = np.zeros(gram_weights.shape[0], np.int32)
    touched = np.empty(PREFIX_BYTES + 1, np.int32)
    word_partial = np.empty(word_weights.shape[1], np.int32)
    gram_partial = np.empty(gram_weights.shape[1], np.int32)
    for document in range(offsets.shape[0] - 1):
        begin = offsets[document]
        size = _prefix_size(data, begin, offsets[document + 1])
        text[:size] = data[begin : begin + size]
        text[size : size + PADDING] = 0

        state[:] = 0
        w.segment(text, size, False, words, state)
        n = state[w.CONTENT_WORDS]
        found = _count_words(words.folded, n, word_shift, word_counts, touched)
        _add(word_weights, word_counts, touched, found, roots, word_partial)
        for j in range(word_partial.shape[0]):
            words_out[document, j] = (np.int64(word_partial[j]) * inverse[n]) >> ROOT_BITS

        n = max(0, size - GRAM_BYTES + 1)
        found = _count_grams(text, size, gram_shift, gram_counts, touched)
        _add(gram_weights, gram_counts, touched, found, roots, gram_partial)
        for j in range(gram_partial.shape[0]):
            grams_out[document, j] = (np.int64(gram_partial[j]) * inverse[n]) >> ROOT_BITS


@njit(cache=True, nogil=True)
def _counts(data, offsets, shift, of_words, places):  # type: ignore[no-untyped-def]
    text = np.zeros(PREFIX_BYTES + PADDING, np.uint8)
    words = w.new_words(PREFIX_BYTES + 1)
    state = np.zeros(w.STATE, np.int64)
    counts = np.zeros(np.int64(1) << (np.int64(64) - np.int64(shift)), np.int32)
    touched = np.empty(PREFIX_BYTES + 1, np.int32)
    buckets_out = np.empty(PREFIX_BYTES, np.int32)
    counts_out = np.empty(PREFIX_BYTES, np.int32)
    total = 0
    for document in range(offsets.shape[0] - 1):
        begin = offsets[document]
        size = _prefix_size(data, begin, offsets[document + 1])
        text[:size] = data[begin : begin + size]
        text[size : size + PADDING] = 0
        if of_words:
            state[:] = 0
            w.segment(text, size, False, words, state)
            found = _count_words(words.folded, state[w.CONTENT_WORDS], shift, counts, touched)
        else:
            found = _count_grams(text, size, shift, counts, touched)
        if total + found > buckets_out.shape[0]:
            capacity = max(2 * buckets_out.shape[0], total + found)
            grown = np.empty(capacity, np.int32)
            grown[:total] = buckets_out[:total]
            buckets_out = grown
            grown = np.empty(capacity, np.int32)
            grown[:total] = counts_out[:total]
            counts_out = grown
        for i in range(found):
            bucket = touched[i]
            buckets_out[total + i] = bucket
            counts_out[total + i] = counts[bucket]
            counts[bucket] = 0
        total += found
        places[document + 1] = total
    return buckets_out[:total].copy(), counts_out[:total].copy()


def gram_sums(
    data: NDArray[np.uint8], offsets: NDArray[np.integer], words: I8, grams: I8
) -> tuple[I64, I64]:
    """Weighted sums of each document.

    Parameters
    ----------
    data, offsets : the buffers of n documents
    words : int8[2^b, outputs], the weights of the words' buckets
    grams : int8[2^c, outputs], those of the 4-grams'; its outputs may be others

    Returns
    -------
    int64[n, outputs] of words and of 4-grams, in units of 2^-20 weights; 0 where there are none.

    Raises
    ------
    ValueError
        For buffers that are none, or weights of another form.
    """
    data, offsets = checked(data, offsets)
    shifts = [_shift(name, weights) for name, weights in (("words", words), ("grams", grams))]
    n = len(offsets) - 1
    found = (
        np.empty((n, words.shape[1]), np.int64),
        np.empty((n, grams.shape[1]), np.int64),
    )
    _sums(data, offsets, words, shifts[0], grams, shifts[1], ROOTS, INVERSE_ROOTS, *found)
    return found


def gram_counts(
    data: NDArray[np.uint8], offsets: NDArray[np.integer], bits: int, *, words: bool
) -> GramCounts:
    """The counts that the sums of ``gram_sums`` are made of, over 2^bits buckets: what a model is
    fitted on. ``words``: of words, else of 4-grams.

    Raises
    ------
    ValueError
        For buffers that are none, or bits outside 1 to 24.
    """
    if not 1 <= bits <= 24:
        raise ValueError(f"bits: found {bits}, expected 1 to 24")
    data, offsets = checked(data, offsets)
    places = np.zeros(len(offsets), np.int64)
    buckets, counts = _counts(data, offsets, np.uint64(64 - bits), words, places)
    return GramCounts(buckets, counts, places)


def _shift(name: str, weights: I8) -> np.uint64:
    rows = weights.shape[0] if weights.ndim == 2 else 0
    if weights.dtype != np.int8 or rows < 2 or rows & (rows - 1) or not weights.flags.c_contiguous:
        raise ValueError(
            f"{name}: found {weights.dtype}{list(weights.shape)}, "
            "expected int8[a power of two, outputs], contiguous"
        )
    return np.uint64(64 - (rows.bit_length() - 1))
