"""Documents made with known similarities: what is removed is right, what is missed is expected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from dedup import (
    ShingleSets,
    band_keys,
    candidate_probability,
    datasketch_signature,
    estimate,
    half_point,
    minhash_params,
    near_duplicates,
    signatures,
)
from dedup.bands import Records
from dedup.survivors import NearDuplicates
from dedup.texts import text_duplicates

WORDS = 204  # 200 shingles
U64 = NDArray[np.uint64]


def planted(per_grade: int, seed: int) -> tuple[U64, NDArray[np.float64]]:
    """Pairs (2i, 2i + 1) of word hashes and each pair's Jaccard similarity.

    The last e words differ, so 200 - e shingles are shared and 200 + e are in the union.
    """
    random = np.random.default_rng(seed)
    replaced = np.repeat([2, 5, 10, 16, 22, 23, 29, 40, 60, 100, 150], per_grade)
    docs = np.empty((2 * len(replaced), WORDS), np.uint64)
    docs[0::2] = random.integers(0, 2**64, (len(replaced), WORDS), dtype=np.uint64)
    docs[1::2] = docs[0::2]
    for i, e in enumerate(replaced):
        docs[2 * i + 1, WORDS - e :] = random.integers(0, 2**64, e, dtype=np.uint64)
    return docs, (200 - replaced) / (200 + replaced)


def deduplicate(docs: U64, scratch: Path) -> NearDuplicates:
    params = minhash_params()
    ranks = np.arange(len(docs), dtype=np.uint32)
    offsets = np.arange(len(docs) + 1, dtype=np.int64) * docs.shape[1]
    found, present = signatures(docs.reshape(-1), offsets, params)
    assert present.all()
    keys = band_keys(found, params)

    def runs(band: int) -> Iterator[Records]:
        yield np.ascontiguousarray(keys[:, band]), ranks

    sets = ShingleSets.from_words(ranks, docs.reshape(-1), offsets, params.ngram)
    return near_duplicates(runs, params.bands, len(docs), sets, "0.8", scratch)


def test_precision_is_one_and_recall_follows_the_s_curve(tmp_path: Path) -> None:
    per_grade = 150
    docs, similarity = planted(per_grade, 1)
    found = deduplicate(docs, tmp_path)
    assert (found.removed % 2 == 1).all()
    np.testing.assert_array_equal(found.survivor, found.removed - 1)
    pairs = found.removed // 2
    np.testing.assert_allclose(found.jaccard_num / found.jaccard_den, similarity[pairs])
    assert (similarity[pairs] >= 0.8).all()
    for grade in np.unique(similarity[similarity >= 0.8]):
        expected = candidate_probability(float(grade), 14, 8)
        noise = 4 * np.sqrt(expected * (1 - expected) / per_grade)
        assert (similarity[pairs] == grade).sum() / per_grade >= expected - noise


@pytest.mark.long
def test_recall_follows_the_s_curve_closely(tmp_path: Path) -> None:
    per_grade = 4000
    docs, similarity = planted(per_grade, 2)
    found = deduplicate(docs, tmp_path)
    pairs = found.removed // 2
    assert (similarity[pairs] >= 0.8).all()
    for grade in np.unique(similarity[similarity >= 0.8]):
        expected = candidate_probability(float(grade), 14, 8)
        noise = 5 * np.sqrt(expected * (1 - expected) / per_grade) + 1 / per_grade
        assert abs((similarity[pairs] == grade).sum() / per_grade - expected) <= noise


def test_a_template_family_is_kept_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    family = np.tile(random.integers(0, 2**64, WORDS, dtype=np.uint64), (400, 1))
    family[:, -24:] = random.integers(0, 2**64, (400, 24), dtype=np.uint64)  # J = 176 / 224
    found = deduplicate(family, tmp_path)
    assert found.stats.largest_bucket > 40
    assert found.stats.pairs > 10_000
    assert len(found.removed) == 0


def test_signatures_are_those_of_datasketch_and_estimate_the_similarity() -> None:
    docs, similarity = planted(3, 5)
    params = minhash_params()
    offsets = np.arange(len(docs) + 1, dtype=np.int64) * WORDS
    found, _ = signatures(docs.reshape(-1), offsets, params)
    for i in range(0, len(docs), 2):
        left, right = (datasketch_signature(docs[j], params) for j in (i, i + 1))
        np.testing.assert_array_equal(found[i], left.hashvalues)
        assert float(estimate(found[i], found[i + 1])) == left.jaccard(right)
        assert abs(left.jaccard(right) - similarity[i // 2]) < 0.25


def test_documents_too_short_have_no_signature() -> None:
    offsets = np.array([0, 4, 9, 9], np.int64)
    _, present = signatures(np.arange(9, dtype=np.uint64), offsets, minhash_params())
    assert present.tolist() == [False, True, False]


def test_the_s_curve_of_the_default_banding() -> None:
    rounded = [round(candidate_probability(s, 14, 8), 3) for s in (0.6, 0.7, 0.75, 0.8, 0.85)]
    assert rounded == [0.211, 0.565, 0.772, 0.924, 0.988]
    assert round(half_point(14, 8), 3) == 0.719
    assert candidate_probability(0, 3, 3) == 0
    assert candidate_probability(1, 3, 3) == 1
    with pytest.raises(ValueError, match=r"similarity: found 1\.5"):
        candidate_probability(1.5, 3, 3)


def sentence(seed: int, words: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [f"w{number}" for number in random.integers(0, 10**6, words)]


@pytest.mark.parametrize("chunks", [1, 4])
def test_a_column_of_text(chunks: int) -> None:
    base, other = sentence(1, 120), sentence(2, 120)
    edited = [*base[:60], "something", "else", *base[62:]]
    texts = [
        " ".join(base),
        "too short",
        " ".join(other),
        " ".join(edited),
        " ".join(base),
        "too short",
        " ".join(base).upper(),
        "",
        "ünïcödé " * 3,
    ]
    column = pa.chunked_array([pa.array(part.tolist()) for part in np.array_split(texts, chunks)])
    found = text_duplicates(column, "0.8")
    assert found.removed.tolist() == [3, 4, 5, 6]
    assert found.survivor.tolist() == [0, 0, 1, 0]
    assert found.exact.tolist() == [False, True, True, False]
    # 116 shingles each; six contain a changed word.
    assert found.jaccard_num.tolist() == [110, 1, 1, 116]
    assert found.jaccard_den.tolist() == [122, 1, 1, 116]
    assert found.without_signature == 3


def test_a_column_with_a_null_or_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1: found a null"):
        text_duplicates(pa.array(["a", None]))
    with pytest.raises(ValueError, match="found a column of type int64"):
        text_duplicates(pa.array([1, 2]))
    assert text_duplicates(pa.array([], pa.string())).rows == 0
