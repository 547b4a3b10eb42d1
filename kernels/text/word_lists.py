"""The words of a column of documents, as spans or as hashes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text import segment as w
from kernels.text.buffers import checked, padded_copy

_CAPACITY = 1 << 12


@njit(cache=True, nogil=True)
def _resized(values, size):  # type: ignore[no-untyped-def]
    grown = np.empty(size, values.dtype)
    kept = min(size, values.shape[0])
    grown[:kept] = values[:kept]
    return grown


@njit(cache=True, nogil=True)
def _hashes(data, offsets, whitespace, places):  # type: ignore[no-untyped-def]
    # Hashes of the content words of all documents; writes where each document's begin to places.
    out = np.empty(_CAPACITY, np.uint64)
    total = 0
    text = np.empty(0, np.uint8)
    words = w.new_words(_CAPACITY)
    state = np.zeros(w.STATE, np.int64)
    for document in range(offsets.shape[0] - 1):
        text, size = padded_copy(data, offsets[document], offsets[document + 1], text)
        state[:] = 0
        while state[w.POSITION] < size:
            state[w.WORDS] = 0
            state[w.CONTENT_WORDS] = 0
            w.segment(text, size, whitespace, words, state)
            found = state[w.CONTENT_WORDS]
            if total + found > out.shape[0]:
                out = _resized(out, max(2 * out.shape[0], total + found))
            out[total : total + found] = words.folded[:found]
            total += found
        places[document + 1] = total
    return _resized(out, total)


@njit(cache=True, nogil=True)
def _spans(data, offsets, whitespace, places):  # type: ignore[no-untyped-def]
    # Begins and ends of the words of all documents, as bytes of the documents.
    out = np.empty((_CAPACITY, 2), np.int64)
    total = 0
    text = np.empty(0, np.uint8)
    words = w.new_words(_CAPACITY)
    state = np.zeros(w.STATE, np.int64)
    for document in range(offsets.shape[0] - 1):
        text, size = padded_copy(data, offsets[document], offsets[document + 1], text)
        state[:] = 0
        while state[w.POSITION] < size:
            state[w.WORDS] = 0
            state[w.CONTENT_WORDS] = 0
            w.segment(text, size, whitespace, words, state)
            found = state[w.WORDS]
            while total + found > out.shape[0]:
                grown = np.empty((2 * out.shape[0], 2), np.int64)
                grown[:total] = out[:total]
                out = grown
            for i in range(found):
                out[total + i, 0] = words.begin[i]
                out[total + i, 1] = words.end[i]
            total += found
        places[document + 1] = total
    return out[:total].copy()


def word_hashes(
    data: NDArray[np.uint8], offsets: NDArray[np.integer], *, whitespace: bool = False
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash the content words of each document: what MinHash shingles are made of.

    Returns ``hashes`` uint64[total] and ``places`` int64[documents + 1]; the words of document
    ``d`` are ``hashes[places[d]:places[d + 1]]``, in order. A content word has a letter or a
    number; its hash is that of its simple case folding (see :mod:`kernels.text.word_hash`), the
    same as in :func:`kernels.text.scan`. Raises ``ValueError`` as :func:`kernels.text.scan` does.
    """
    data, offsets = checked(data, offsets)
    places = np.zeros(len(offsets), np.int64)
    return _hashes(
        data,
        offsets,
        whitespace,
        places,
    ), places


def words(
    data: NDArray[np.uint8], offsets: NDArray[np.integer], *, whitespace: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut each document into words, punctuation marks included (see :mod:`kernels.text.segment`).

    Returns ``spans`` int64[total, 2], begin and end of each word in bytes of its document, and
    ``places`` int64[documents + 1]: the words of document ``d`` are
    ``spans[places[d]:places[d + 1]]``. ``whitespace``: cut as ``str.split`` does.
    """
    data, offsets = checked(data, offsets)
    places = np.zeros(len(offsets), np.int64)
    return _spans(
        data,
        offsets,
        whitespace,
        places,
    ), places
