"""Buckets are those of a dictionary, whatever the memory and however the input is cut."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.bands import Buckets, Records, candidate_ranks, sort_band

KEY = st.integers(0, 3) | st.integers(0, 60) | st.integers(2**64 - 3, 2**64 - 1)


def records(keys: list[int], cuts: int, seed: int) -> Iterator[Records]:
    """Rank i has key i; ranks come in random order and pieces."""
    ranks = np.random.default_rng(seed).permutation(len(keys)).astype(np.uint32)
    all_keys = np.array(keys, np.uint64)
    for some in np.array_split(ranks, cuts):
        yield all_keys[some], some


def read(buckets: Buckets, memory_bytes: int = 64) -> list[list[int]]:
    found = []
    for members, sizes in buckets.chunks(memory_bytes):
        assert len(members) == sizes.sum()
        found += [part.tolist() for part in np.split(members, np.cumsum(sizes)[:-1])]
    return found


def expected(keys: list[int]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for rank, key in enumerate(keys):
        groups.setdefault(key, []).append(rank)
    return [groups[key] for key in sorted(groups) if len(groups[key]) > 1]


@given(
    st.lists(KEY, max_size=400),
    st.sampled_from([1, 48 * 64, 48 * 100, 48 * 333, 1 << 20]),
    st.integers(1, 9),
    st.integers(0, 2**32),
)
@settings(max_examples=80, deadline=None)
def test_buckets_are_the_groups_of_equal_keys(
    keys: list[int], memory_bytes: int, cuts: int, seed: int
) -> None:
    with TemporaryDirectory() as scratch:
        buckets = sort_band(3, records(keys, cuts, seed), scratch, memory_bytes)
        groups = expected(keys)
        assert read(buckets) == groups
        assert buckets.records == len(keys)
        assert buckets.buckets == len(groups)
        assert buckets.memberships == sum(map(len, groups))
        assert buckets.largest == max(map(len, groups), default=0)
        # Runs are gone; what is left does not depend on how the sort went.
        assert sorted(path.name for path in Path(scratch).iterdir()) == [
            "band-003.members",
            "band-003.sizes",
        ]
        assert candidate_ranks([buckets], 400).tolist() == sorted(chain.from_iterable(groups))


@pytest.mark.parametrize("memory_bytes", [48 * 64, 48 * 3000, 1 << 20])
def test_one_bucket_may_exceed_the_memory(tmp_path: Path, memory_bytes: int) -> None:
    keys = [7] * 5000 + list(range(100, 1100)) + [2] * 40
    buckets = sort_band(0, records(keys, 5, 1), tmp_path, memory_bytes)
    assert read(buckets) == expected(keys)
    assert buckets.largest == 5000


def test_the_files_do_not_depend_on_memory_or_order(tmp_path: Path) -> None:
    keys = np.random.default_rng(0).integers(0, 3000, 9000).tolist()
    contents = set()
    for i, memory_bytes in enumerate([1, 48 * 500, 1 << 24]):
        buckets = sort_band(0, records(keys, i + 1, i), tmp_path / str(i), memory_bytes)
        contents.add((buckets.members.read_bytes(), buckets.sizes.read_bytes()))
    assert len(contents) == 1


def test_candidates_of_several_bands_are_joined(tmp_path: Path) -> None:
    bands = [
        sort_band(0, records([1, 1, 2, 3, 4], 1, 0), tmp_path),
        sort_band(1, records([5, 6, 7, 7, 8], 1, 0), tmp_path),
    ]
    assert candidate_ranks(bands, 5).tolist() == [0, 1, 2, 3]
    assert candidate_ranks([], 5).tolist() == []


@pytest.mark.parametrize("memory_bytes", [1, 1 << 20])
@pytest.mark.parametrize("copies", [2, 100])
def test_a_document_given_twice_is_an_error(tmp_path: Path, memory_bytes: int, copies: int) -> None:
    keys = np.full(300 * copies, 9, np.uint64)
    ranks = np.tile(np.arange(300, dtype=np.uint32), copies)
    with pytest.raises(ValueError, match=r"band 4: found rank \d+ twice"):
        sort_band(4, [(keys, ranks)], tmp_path, memory_bytes)


def test_a_rank_out_of_range_is_an_error(tmp_path: Path) -> None:
    buckets = sort_band(0, records([1, 1, 1], 1, 0), tmp_path)
    with pytest.raises(ValueError, match="band 0: found rank 2, expected ranks below 2"):
        candidate_ranks([buckets], 2)


def test_arrays_of_two_lengths_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="band 1: found keys of shape"):
        sort_band(1, [(np.zeros(3, np.uint64), np.zeros(2, np.uint32))], tmp_path)


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    buckets = sort_band(0, records([1, 1, 1, 2, 2], 1, 0), tmp_path)
    buckets.members.write_bytes(buckets.members.read_bytes()[:-4])
    with pytest.raises(ValueError, match="sort band 0 again"):
        read(buckets)
    buckets.sizes.write_bytes(b"")
    with pytest.raises(ValueError, match="sort band 0 again"):
        read(buckets)
