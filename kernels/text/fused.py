"""The compiled pass: every signal of every text rule, and MinHash band keys, from Arrow buffers.

One call reads a whole column of documents. A document is copied once into a padded buffer and cut
into words once; no Python object is made for it. Scratch grows to the largest document and is
given back after it; the time is linear in the bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.text import c4, characters, lines
from kernels.text import segment as w
from kernels.text.buffers import checked, padded_copy
from kernels.text.characters import LOOK_BRACKET, LOOK_DOTS
from kernels.text.counts import (
    C4,
    CHARACTERS,
    COLUMNS,
    ELLIPSES,
    LINES,
    REPETITION,
    SIGNALS,
    STOP_WORDS,
    TEXT_BYTES,
    WORDS,
)
from kernels.text.minhash import MinHashParams, band_keys, signature
from kernels.text.ngrams import new_grams, repetition
from kernels.text.stop_words import count_stop_words

# Scratch above these sizes is given back after the document that needed it.
_SMALL_BYTES = 1 << 20
_SMALL_WORDS = 1 << 18

_NO_PERMUTATIONS = np.empty(0, np.uint32)


class ScanResult(NamedTuple):
    """What :func:`scan` found, row by row.

    ``signals``: arrays of the documents' number by signal name, int8, int32 or float32.
    ``band_keys``: uint64[documents, bands], zeros where there is no signature; ``has_signature``:
    bool[documents], false for a document of fewer content words than a shingle has.
    """

    signals: dict[str, NDArray[np.generic]]
    band_keys: NDArray[np.uint64]
    has_signature: NDArray[np.bool_]


@njit(cache=True, nogil=True)
def scan_documents(  # type: ignore[no-untyped-def]
    data, offsets, whitespace, ngram, bands, rows, a, b, counts, keys, signed
):
    """Fill ``counts`` int64[n, COLUMNS], ``keys`` uint64[n, bands] and ``signed`` bool[n]."""
    ascii_lanes = characters.lanes()
    text = np.empty(0, np.uint8)
    clean = np.empty(0, np.uint8)
    words = w.new_words(_SMALL_WORDS)
    grams = new_grams(_SMALL_WORDS)
    minima = np.empty(bands * rows, np.uint32)
    for document in range(offsets.shape[0] - 1):
        row = counts[document]
        text, size = padded_copy(data, offsets[document], offsets[document + 1], text)
        row[TEXT_BYTES] = size

        found = row[CHARACTERS : CHARACTERS + characters.COUNTS]
        characters.count_characters(text, size, ascii_lanes, found)
        is_ascii = found[characters.NON_ASCII] == 0
        looks = characters.look(text, size)
        if looks & LOOK_DOTS:
            row[ELLIPSES] = characters.count_ellipses(text, size)

        state = row[WORDS : WORDS + w.STATE]
        w.segment(text, size, whitespace, words, state)
        while state[w.POSITION] < size:
            # As many as the words so far let expect, so that few arrays are larger than needed.
            expected = w.grown_capacity(state[w.WORDS], state[w.POSITION], size)
            words = w.grown_words(words, expected)
            w.segment(text, size, whitespace, words, state)
        n = state[w.WORDS]
        row[STOP_WORDS] = count_stop_words(text, words.begin, words.end, n)

        filled = lines.count_filled_spans(text, size)
        if grams.place.shape[0] < max(n, filled):
            grams = new_grams(max(n, filled))
        repetition(text, words, n, grams, row[REPETITION : REPETITION + 9])

        found = row[LINES : LINES + lines.COUNTS]
        longest = lines.count_lines(
            text, size, is_ascii, filled, grams.place, grams.gram, grams.table, found
        )
        if looks & LOOK_BRACKET and clean.shape[0] < longest + 8:
            clean = np.empty(longest + 8, np.uint8)
        found = row[C4 : C4 + c4.COUNTS]
        c4.count_c4(text, size, is_ascii, looks, clean, found)

        content = state[w.CONTENT_WORDS]
        if bands > 0 and signature(words.folded, content, ngram, a, b, minima) > 0:
            signed[document] = True
            band_keys(minima, bands, rows, keys[document])

        if size > _SMALL_BYTES:
            text = np.empty(0, np.uint8)
            clean = np.empty(0, np.uint8)
            if words.begin.shape[0] > _SMALL_WORDS:
                words = w.new_words(_SMALL_WORDS)
            if grams.place.shape[0] > _SMALL_WORDS:
                grams = new_grams(_SMALL_WORDS)


def count(
    data: NDArray[np.uint8],
    offsets: NDArray[np.integer],
    minhash: MinHashParams | None,
    whitespace: bool,
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the integers behind every signal, int64[n, COLUMNS], with band keys as in `scan`."""
    data, offsets = checked(data, offsets)
    n = len(offsets) - 1
    counts = np.zeros((n, COLUMNS), np.int64)
    signed = np.zeros(n, np.bool_)
    ngram, bands, rows, a, b = 1, 0, 0, _NO_PERMUTATIONS, _NO_PERMUTATIONS
    if minhash is not None:
        ngram, bands, rows, a, b = (
            *(minhash.ngram, minhash.bands, minhash.rows),
            *(minhash.a, minhash.b),
        )
    keys = np.zeros((n, bands), np.uint64)
    scan_documents(data, offsets, whitespace, ngram, bands, rows, a, b, counts, keys, signed)
    return counts, keys, signed


def scan(
    data: NDArray[np.uint8],
    offsets: NDArray[np.integer],
    minhash: MinHashParams | None = None,
    *,
    words: str = "unicode",
) -> ScanResult:
    """Compute every signal of ``kernels.text.counts.SIGNALS`` for a column of documents.

    ``data``, ``offsets``: the buffers of an Arrow string array, UTF-8 bytes and n + 1 ascending
    byte offsets. ``minhash``: parameters of the signature, or ``None`` for none. ``words``:
    "unicode" (UAX #29 segments, the rule of this project) or "whitespace" (``str.split``, to
    compare with programs that split so).

    A fraction is two counts divided in float64 and rounded to float32; 0/0 is 0. Raises
    ``ValueError`` for offsets that do not fit the data, a document of 2 GiB or more, or an unknown
    way to cut words.
    """
    if words not in ("unicode", "whitespace"):
        raise ValueError(f'words: found {words!r}, expected "unicode" or "whitespace"')
    counts, keys, signed = count(data, offsets, minhash, words == "whitespace")
    signals = {signal.name: signal.column(counts) for signal in SIGNALS}
    return ScanResult(signals, keys, signed)
