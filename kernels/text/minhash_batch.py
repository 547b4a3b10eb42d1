"""MinHash signatures, band keys and shingle sets of many documents at a time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text.minhash import band_keys, shingle_set, signature

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


@njit(cache=True, nogil=True)
def shingle_sets(word_hashes: U64, offsets: I64, ngram: int, values: U64, lengths: U32) -> int:
    """Sets of all documents, one after the other; see :func:`kernels.text.minhash.shingle_set`.

    Document ``d`` is ``word_hashes[offsets[d]:offsets[d + 1]]``. ``values`` uint64 of at least as
    many elements as there are words; ``lengths`` uint32[documents]. Returns the elements written.
    """
    at = 0
    for d in range(lengths.shape[0]):
        words = word_hashes[offsets[d] : offsets[d + 1]]
        count = shingle_set(words, words.shape[0], ngram, values[at:])
        lengths[d] = count
        at += count
    return at


@njit(cache=True, nogil=True)
def signatures(
    word_hashes: U64, offsets: I64, ngram: int, a: U32, b: U32, out: U32, present: NDArray[np.bool_]
) -> None:
    """Signatures uint32[documents, permutations] and whether a document has one.

    Documents as in :func:`shingle_sets`; see :func:`kernels.text.minhash.signature`.
    """
    for d in range(out.shape[0]):
        words = word_hashes[offsets[d] : offsets[d + 1]]
        present[d] = signature(words, words.shape[0], ngram, a, b, out[d]) > 0


@njit(cache=True, nogil=True)
def all_band_keys(sig: U32, bands: int, rows: int, out: U64) -> None:
    """Band keys uint64[documents, bands] of signatures uint32[documents, bands * rows]."""
    for d in range(sig.shape[0]):
        band_keys(sig[d], bands, rows, out[d])
