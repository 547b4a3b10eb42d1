"""Shingle files hold the sets they were given, in any cut, and complain when incomplete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dedup.shingles import ShingleSets, WordBatch, write_shingles
from kernels.text.minhash_reference import shingle_set

LENGTHS = [0, 3, 5, 6, 40, 700, 5, 9]


def documents() -> list[list[int]]:
    random = np.random.default_rng(8)
    return [random.integers(0, 2**64, n, dtype=np.uint64).tolist() for n in LENGTHS]


def batches(docs: list[list[int]], ranks: list[int], size: int) -> Iterator[WordBatch]:
    for start in range(0, len(docs), size):
        some = docs[start : start + size]
        words = np.array([word for doc in some for word in doc], np.uint64)
        offsets = np.cumsum([0, *map(len, some)], dtype=np.int64)
        yield np.array(ranks[start : start + size], np.uint32), words, offsets


@pytest.mark.parametrize("size", [1, 3, 100])
def test_sets_come_back_from_several_files(tmp_path: Path, size: int) -> None:
    docs = documents()
    ranks = [12, 3, 900, 0, 7, 41, 5, 2**32 - 2]
    first = write_shingles(tmp_path / "a", batches(docs[:5], ranks[:5], size), 5)
    second = write_shingles(tmp_path / "b", batches(docs[5:], ranks[5:], size), 5)
    empty = write_shingles(tmp_path / "c", [], 5)
    assert (first.documents, second.documents, empty.documents) == (5, 3, 0)
    sets = ShingleSets.open([first.path, second.path, empty.path])
    assert len(sets) == len(docs)
    assert sets.ranks.tolist() == sorted(ranks)
    for rank, doc in zip(ranks, docs, strict=True):
        assert sets.get(rank).tolist() == shingle_set(doc, 5)


def test_overlap_counts_shared_and_all_shingles() -> None:
    sets = ShingleSets.from_sets([{1, 2, 3, 4}, {3, 4, 5}, set()])
    assert sets.overlap(0, 1) == (2, 5)
    assert sets.overlap(0, 0) == (4, 4)
    assert sets.overlap(2, 1) == (0, 3)
    assert sets.overlap(2, 2) == (0, 0)


def test_sets_in_memory_equal_those_in_files(tmp_path: Path) -> None:
    docs, ranks = documents(), list(range(8))
    (batch,) = batches(docs, ranks, 100)
    memory = ShingleSets.from_words(*batch, ngram=3)
    file = ShingleSets.open([write_shingles(tmp_path / "s", [batch], 3).path])
    for rank in ranks:
        np.testing.assert_array_equal(memory.get(rank), file.get(rank))


def test_a_rank_in_two_files_is_an_error(tmp_path: Path) -> None:
    for name in "ab":
        write_shingles(tmp_path / name, batches(documents(), list(range(8)), 8), 5)
    with pytest.raises(ValueError, match="found rank 0 twice"):
        ShingleSets.open([tmp_path / "a", tmp_path / "b"])


def test_an_incomplete_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    write_shingles(path, batches(documents(), list(range(8)), 8), 5)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[8:], whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="expected a shingle file of write_shingles"):
            ShingleSets.open([path])


def test_offsets_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    batch = np.zeros(2, np.uint32), np.zeros(9, np.uint64), np.array([0, 9])
    with pytest.raises(ValueError, match="batch of 2 ranks with 2 offsets"):
        write_shingles(tmp_path / "bad", [batch], 5)
