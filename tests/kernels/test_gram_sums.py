"""Sums over words and 4-grams against their plain version."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text import buffers_of
from kernels.text import gram_sums_reference as plain
from kernels.text.gram_sums import (
    INVERSE_ROOTS,
    PREFIX_BYTES,
    ROOTS,
    gram_counts,
    gram_sums,
)

_PARTS = st.sampled_from(
    [
        "the ",
        "The\n",
        "über ",
        "naïve",
        "東京タワー",
        " ",
        "\t",
        "a",
        "0.5",
        "🙂",
        "e\u0301",
        "\0",
        "日",
    ]
)
_TEXTS = st.lists(
    st.one_of(st.text(max_size=30), st.lists(_PARTS, max_size=60).map("".join)), max_size=6
)


def _weights(seed: int, bits: int, outputs: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (1 << bits, outputs)).astype(np.int8)


@settings(deadline=None)
@given(_TEXTS, st.integers(1, 12), st.integers(0, 9))
def test_sums_are_those_of_the_definition(texts: list[str], bits: int, seed: int) -> None:
    words, grams = _weights(seed, bits, 5), _weights(seed + 1, bits, 3)
    found = gram_sums(*buffers_of(pa.array(texts, pa.string())), words, grams)
    for i, text in enumerate(texts):
        assert found[0][i].tolist() == plain.weighted_sums(plain.word_buckets(text, bits), words)
        assert found[1][i].tolist() == plain.weighted_sums(plain.gram_buckets(text, bits), grams)


@settings(deadline=None)
@given(_TEXTS, st.integers(1, 16), st.booleans())
def test_counts_are_those_of_the_definition(texts: list[str], bits: int, words: bool) -> None:
    found = gram_counts(*buffers_of(pa.array(texts, pa.string())), bits, words=words)
    buckets_of = plain.word_buckets if words else plain.gram_buckets
    for i, text in enumerate(texts):
        here = slice(found.places[i], found.places[i + 1])
        counts = dict(zip(found.buckets[here].tolist(), found.counts[here].tolist(), strict=True))
        assert counts == Counter(buckets_of(text, bits))


@pytest.mark.parametrize("extra", range(6))
def test_only_whole_characters_of_the_beginning_are_read(extra: int) -> None:
    text = "x" * (PREFIX_BYTES - extra) + "日本" * 3 + "y" * PREFIX_BYTES
    words, grams = _weights(1, 8, 2), _weights(2, 8, 2)
    one = gram_sums(*buffers_of(pa.array([text])), words, grams)
    other = gram_sums(*buffers_of(pa.array([plain.prefix(text)])), words, grams)
    assert [a.tolist() for a in one] == [b.tolist() for b in other]
    assert one[1][0].tolist() == plain.weighted_sums(plain.gram_buckets(text, 8), grams)


def test_the_largest_sums_keep_their_sign() -> None:
    # As many different 4-grams as there can be, all of the largest weight.
    text = np.random.default_rng(0).integers(33, 127, PREFIX_BYTES).astype(np.uint8).tobytes()
    weights = np.full((1 << 17, 1), -128, np.int8)
    _, found = gram_sums(*buffers_of(pa.array([text.decode()])), weights, weights)
    expected = plain.weighted_sums(plain.gram_buckets(text.decode(), 17), weights)
    assert found[0].tolist() == expected
    assert expected[0] < -(1 << 33)


def test_tables_of_roots_are_rounded_exactly() -> None:
    for count in (1, 2, 3, 99, 1000, PREFIX_BYTES - 1, PREFIX_BYTES):
        assert ROOTS[count] == plain._root(count)
        assert INVERSE_ROOTS[count] == plain._inverse_root(count)
    assert [plain._root(c) for c in range(1, PREFIX_BYTES + 1)] == ROOTS[1:].tolist()
    assert [plain._inverse_root(c) for c in range(1, PREFIX_BYTES + 1)] == INVERSE_ROOTS[
        1:
    ].tolist()


def test_a_document_does_not_depend_on_those_beside_it() -> None:
    texts = ["one two two", "", "two three " * 500, "東京"]
    words, grams = _weights(3, 6, 4), _weights(4, 6, 4)
    together = gram_sums(*buffers_of(pa.array(texts)), words, grams)
    for i, text in enumerate(texts):
        alone = gram_sums(*buffers_of(pa.array([text])), words, grams)
        assert together[0][i].tolist() == alone[0][0].tolist()
        assert together[1][i].tolist() == alone[1][0].tolist()


@pytest.mark.parametrize(
    "weights",
    [
        np.zeros((3, 2), np.int8),
        np.zeros((4, 2), np.int16),
        np.zeros(4, np.int8),
        np.zeros((2, 4), np.int8).T,
    ],
)
def test_weights_of_another_form_are_refused(weights: np.ndarray) -> None:
    good = np.zeros((4, 2), np.int8)
    with pytest.raises(ValueError, match=r"words: found .* expected int8"):
        gram_sums(*buffers_of(pa.array(["a"])), weights, good)
    with pytest.raises(ValueError, match=r"grams: found .* expected int8"):
        gram_sums(*buffers_of(pa.array(["a"])), good, weights)


def test_bits_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="bits: found 25, expected 1 to 24"):
        gram_counts(*buffers_of(pa.array(["a"])), 25, words=True)
