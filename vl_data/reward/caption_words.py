"""The distinct words of captions, and what each is worth by how few captions of a run have it.

A word is known by 40 bits of its hash, and counted with all others that share its first 22: a word
seems the more frequent for its bucket's company, never rarer. All sums are of integers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kernels.text import buffers_of, word_hashes

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

BUCKETS = 1 << 22
BIT = 256
"""Worths are in 256ths of a bit."""

_WORD_BITS = 40
_MOST_TEXTS = 1 << (64 - _WORD_BITS)


class Words(NamedTuple):
    """Each word once a text, by the texts' order: ``text`` int64[w] and ``word`` uint64[w]."""

    text: I64
    word: U64


def distinct_words(texts: pa.Array) -> Words:
    """The words with a letter or a number of each of some texts, case aside (UAX #29).

    Raises
    ------
    ValueError
        For 2^24 texts and more.
    """
    if len(texts) >= _MOST_TEXTS:
        raise ValueError(f"found {len(texts)} texts, expected fewer than {_MOST_TEXTS}")
    hashes, places = word_hashes(*buffers_of(texts.cast(pa.large_string())))
    return of_hashes(np.repeat(np.arange(len(texts)), np.diff(places)), hashes)


def of_hashes(text: I64, hashes: U64) -> Words:
    """``Words`` of hashes uint64[m], each with the number of its text int64[m], in any order."""
    shift = np.uint64(_WORD_BITS)
    keys = np.unique((text.astype(np.uint64) << shift) | (hashes >> np.uint64(64 - _WORD_BITS)))
    return Words((keys >> shift).astype(np.int64), keys & np.uint64((1 << _WORD_BITS) - 1))


def buckets_of(words: Words) -> I64:
    """The bucket of each word, int64[w] in 0 .. ``BUCKETS`` - 1."""
    return (words.word >> np.uint64(_WORD_BITS - 22)).astype(np.int64)


def count_texts(words: Words, counts: I64) -> None:
    """Add to ``counts`` int64[``BUCKETS``] in how many texts a word of each bucket is."""
    shift = np.uint64(22)
    seen = np.unique((words.text.astype(np.uint64) << shift) | buckets_of(words).astype(np.uint64))
    held, times = np.unique(seen & np.uint64(BUCKETS - 1), return_counts=True)
    counts[held.astype(np.int64)] += times


def worths(counts: I64, texts: int) -> I32:
    """What a word of each bucket tells: log2(texts + 1) - log2(texts that have one), int32[b].

    Each logarithm is ⌊256 · log2⌋, exact, so that a worth is the same on every machine. A bucket
    that no text has is worth as much as one that a single text has.
    """
    most = log2_floor(texts + 1)
    found = np.full(len(counts), most, np.int32)
    held = np.flatnonzero(counts)
    values, place = np.unique(counts[held], return_inverse=True)
    logarithms = np.array([log2_floor(value) for value in values.tolist()], np.int32)
    found[held] -= logarithms[place]
    return found


def log2_floor(value: int) -> int:
    """⌊``BIT`` · log2(value)⌋ of a positive integer, without a rounding."""
    power: int = int(value) ** BIT
    return power.bit_length() - 1


def sums(words: Words, values: NDArray[np.integer], texts: int) -> I64:
    """The sum of ``values`` [w] over the words of each of ``texts`` texts, int64[texts]."""
    found = np.zeros(texts, np.int64)
    np.add.at(found, words.text, values)
    return found
