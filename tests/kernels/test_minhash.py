"""Signatures equal datasketch's bit for bit; sets, keys and blocks behave at every size."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.text import minhash, minhash_reference
from kernels.text.minhash import MinHashParams, minhash_params

WORD = st.integers(0, 2**64 - 1)
FEW_WORDS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
WORDS = st.lists(WORD, max_size=60) | st.lists(FEW_WORDS, max_size=60)


def compiled_signature(words: NDArray[np.uint64], params: MinHashParams) -> NDArray[np.uint32]:
    out = np.empty(params.bands * params.rows, np.uint32)
    shingles = minhash.signature(words, len(words), params.ngram, params.a, params.b, out)
    assert shingles == max(0, len(words) - params.ngram + 1)
    return out


def oracle(words: NDArray[np.uint64], params: MinHashParams) -> MinHash:
    sketch = MinHash(
        num_perm=params.bands * params.rows,
        seed=params.seed,
        hashfunc=lambda h: h & 0xFFFFFFFF,
        scheme="affine32",
    )
    sketch.update_batch(minhash_reference.shingle_hashes(words.tolist(), params.ngram))
    return sketch


@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 - 1])
def test_permutations_are_those_of_datasketch(seed: int) -> None:
    params = minhash_params(bands=3, rows=7, seed=seed)
    a, b = MinHash(num_perm=21, seed=seed, scheme="affine32").permutations
    assert params.a.dtype == params.b.dtype == np.uint32
    np.testing.assert_array_equal(params.a, a)
    np.testing.assert_array_equal(params.b, b)


# Sizes around the vector width, the block and several blocks.
@pytest.mark.parametrize("n", [5, 6, 35, 36, 37, 515, 516, 517, 1028, 1029, 20_011])
def test_signature_is_that_of_datasketch(n: int) -> None:
    params = minhash_params()
    words = np.random.default_rng(n).integers(0, 2**64, n, dtype=np.uint64)
    np.testing.assert_array_equal(
        compiled_signature(words, params), oracle(words, params).hashvalues
    )


@given(WORDS, st.integers(1, 7), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_signature_is_that_of_datasketch_for_any_parameters(
    words: list[int], ngram: int, bands: int, rows: int, seed: int
) -> None:
    params = minhash_params(ngram, bands, rows, seed)
    array = np.array(words, dtype=np.uint64)
    signature = compiled_signature(array, params)
    np.testing.assert_array_equal(signature, oracle(array, params).hashvalues)
    plain = minhash_reference.signature(words, params)
    if plain is None:
        assert len(words) < ngram
        assert (signature == 2**32 - 1).all()
    else:
        np.testing.assert_array_equal(signature, plain)


@given(WORDS, st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_shingle_set_is_sorted_and_distinct(words: list[int], ngram: int) -> None:
    array = np.array(words, dtype=np.uint64)
    out = np.empty(max(1, len(words)), np.uint64)
    count = minhash.shingle_set(array, len(words), ngram, out)
    assert out[:count].tolist() == minhash_reference.shingle_set(words, ngram)


def test_only_the_first_n_words_count() -> None:
    params = minhash_params()
    words = np.arange(100, dtype=np.uint64)
    short, full = np.empty(112, np.uint32), np.empty(112, np.uint32)
    minhash.signature(words, 40, 5, params.a, params.b, short)
    minhash.signature(words[:40].copy(), 40, 5, params.a, params.b, full)
    np.testing.assert_array_equal(short, full)


def test_repeated_text_has_the_signature_of_its_set() -> None:
    params = minhash_params()
    once = np.random.default_rng(3).integers(0, 2**64, 700, dtype=np.uint64)
    cycle = np.concatenate([once, once[:4]])
    many = np.concatenate([once, once, once, once[:4]])
    np.testing.assert_array_equal(
        compiled_signature(cycle, params), compiled_signature(many, params)
    )
    out = np.empty(len(many), np.uint64)
    assert minhash.shingle_set(many, len(many), 5, out) == 700


def test_word_order_changes_the_shingle() -> None:
    out = np.empty(1, np.uint64)
    seen = set()
    for order in ([1, 2, 3, 4, 5], [2, 1, 3, 4, 5], [1, 2, 3, 5, 4], [5, 2, 3, 4, 1]):
        words = np.array(order, dtype=np.uint64)
        minhash.shingle_hashes(words, 0, 1, 5, out)
        seen.add(int(out[0]))
    assert len(seen) == 4


@given(st.integers(1, 5), st.integers(1, 9), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_band_keys_depend_on_their_own_rows_only(bands: int, rows: int, random: object) -> None:
    values = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    sig = values.integers(0, 2**32, bands * rows, dtype=np.uint32)
    keys = np.empty(bands, np.uint64)
    minhash.band_keys(sig, bands, rows, keys)
    assert keys.tolist() == minhash_reference.band_keys(sig.tolist(), bands, rows)
    changed = sig.copy()
    changed[0] ^= np.uint32(1)
    other = np.empty(bands, np.uint64)
    minhash.band_keys(changed, bands, rows, other)
    assert other[0] != keys[0]
    assert (other[1:] == keys[1:]).all()


def test_sort_unique_survives_equal_and_clustered_values() -> None:
    values = np.array([7] * 5000 + [2**64 - 1] * 300 + list(range(200)), dtype=np.uint64)
    out = np.empty(len(values), np.uint64)
    count = minhash.sort_unique(values, len(values), out)
    assert out[:count].tolist() == sorted(set(values.tolist()))
    assert minhash.sort_unique(values, 0, out) == 0


@pytest.mark.parametrize(
    ("field", "value"), [("ngram", 0), ("bands", 0), ("rows", -1), ("seed", -1), ("seed", 2**32)]
)
def test_impossible_parameters_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"minhash {field}: found {value}"):
        minhash_params(**{field: value})
