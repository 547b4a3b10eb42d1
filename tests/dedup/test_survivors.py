"""Survivors equal a brute-force greedy selection, for any buckets, memory, batch and threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dedup import NearDuplicates, ShingleSets, near_duplicates
from dedup.bands import Records
from dedup.reference import greedy_survivors, shared_band_pairs


@dataclass(frozen=True)
class Case:
    keys: list[dict[int, int]]
    sets: list[set[int]]
    threshold: Fraction


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(0, 30))
    bands = draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    distinct_keys = draw(st.integers(1, 40))
    vocabulary, longest = draw(st.integers(1, 40)), draw(st.integers(1, 30))
    signed = draw(st.sampled_from([0.3, 0.9, 1.0]))
    keys = [
        {i: int(random.integers(distinct_keys)) for i in range(n) if random.random() < signed}
        for _ in range(bands)
    ]
    sets = [
        set(random.integers(0, vocabulary, random.integers(0, longest + 1)).tolist())
        for _ in range(n)
    ]
    # Edits of earlier sets, so that similarities near every threshold occur.
    for i in range(1, n):
        if sets[i - 1] and random.random() < 0.5:
            base = sets[int(random.integers(i))]
            sets[i] = {x for x in base if random.random() < 0.9} | {int(random.integers(90, 95))}
    denominator = draw(st.integers(1, 20))
    return Case(keys, sets, Fraction(draw(st.integers(1, denominator)), denominator))


def run(
    case: Case, memory_bytes: int, batch: int, threads: int = 1, cuts: int = 1
) -> NearDuplicates:
    def band_runs(band: int) -> Iterator[Records]:
        ranks = np.array(list(case.keys[band]), np.uint32)[::-1].copy()
        keys = np.array(list(case.keys[band].values()), np.uint64)[::-1].copy()
        for some in np.array_split(np.arange(len(ranks)), cuts):
            yield keys[some], ranks[some]

    with TemporaryDirectory() as scratch:
        return near_duplicates(
            band_runs,
            len(case.keys),
            len(case.sets),
            ShingleSets.from_sets(case.sets),
            case.threshold,
            scratch,
            memory_bytes,
            batch=batch,
            threads=threads,
        )


def as_dict(found: NearDuplicates) -> dict[int, tuple[int, int, int]]:
    columns = found.removed, found.survivor, found.jaccard_num, found.jaccard_den
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {removed: (survivor, num, den) for removed, survivor, num, den in rows}


@given(cases(), st.sampled_from([1, 1 << 20]), st.integers(1, 40), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_survivors_are_those_of_the_reference(
    case: Case, memory_bytes: int, batch: int, threads: int
) -> None:
    found = run(case, memory_bytes, batch, threads, cuts=3)
    expected = greedy_survivors(
        len(case.sets), shared_band_pairs(case.keys), case.sets, case.threshold
    )
    assert as_dict(found) == expected
    # Clusters: what is removed joins its survivor, and is named by the smallest.
    survivors = {survivor for survivor, _, _ in expected.values()}
    clusters = {rank: survivor for rank, (survivor, _, _) in expected.items()}
    clusters |= {survivor: survivor for survivor in survivors}
    assert dict(zip(found.members.tolist(), found.cluster.tolist(), strict=True)) == clusters


@given(cases(), st.integers(1, 40), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_work_itself_does_not_depend_on_batch_threads_or_memory(
    case: Case, batch: int, threads: int
) -> None:
    assert run(case, 1, batch, threads).stats == run(case, 1 << 20, 1 << 12).stats


@given(cases())
@settings(max_examples=60, deadline=None)
def test_no_pair_is_looked_at_twice(case: Case) -> None:
    stats = run(case, 1 << 20, 8).stats
    assert stats.pairs <= len(shared_band_pairs(case.keys))
    assert stats.pairs == stats.size_rejected + stats.bitmap_rejected + stats.compared


def chain(length: int) -> Case:
    """Neighbours are alike (J = 9/11), the next but one are not (J = 8/12); all share a band."""
    sets = [set(range(i, i + 10)) for i in range(length)]
    return Case([dict.fromkeys(range(length), 1)] * 3, sets, Fraction(4, 5))


def test_a_chain_removes_no_document_without_a_direct_edge() -> None:
    found = run(chain(9), 1 << 20, 4)
    assert found.removed.tolist() == [1, 3, 5, 7]
    assert found.survivor.tolist() == [0, 2, 4, 6]
    assert set(zip(found.jaccard_num.tolist(), found.jaccard_den.tolist(), strict=True)) == {
        (9, 11)
    }


def test_many_distinct_members_of_one_bucket_are_all_kept() -> None:
    boilerplate = set(range(1000, 1060))
    sets = [boilerplate | set(range(20 * i + 2000, 20 * i + 2020)) for i in range(300)]
    case = Case([dict.fromkeys(range(300), 1)] * 14, sets, Fraction(4, 5))
    found = run(case, 1 << 20, 64)
    assert len(found.removed) == 0
    assert found.stats.pairs == 300 * 299 // 2


@pytest.mark.parametrize("threshold", [0.8, "0.8", "4/5"])
def test_a_similarity_equal_to_the_threshold_counts(
    threshold: float | str, tmp_path: object
) -> None:
    sets = [set(range(9)), set(range(1, 10))]  # 8 of 10
    keys = np.zeros(2, np.uint64), np.arange(2, dtype=np.uint32)
    found = near_duplicates(
        lambda _: [keys], 1, 2, ShingleSets.from_sets(sets), threshold, str(tmp_path)
    )
    assert found.removed.tolist() == [1]


def test_only_candidates_need_shingle_sets(tmp_path: object) -> None:
    asked = []

    def shingles(candidates: NDArray[np.uint32]) -> ShingleSets:
        asked.append(candidates.tolist())
        return ShingleSets.from_words(
            candidates, np.tile(np.arange(6, dtype=np.uint64), 2), np.array([0, 6, 12]), 5
        )

    keys = np.array([5, 1, 5, 2], np.uint64), np.arange(4, dtype=np.uint32)
    found = near_duplicates(lambda _: [keys], 2, 4, shingles, "0.8", str(tmp_path))
    assert asked == [[0, 2]]
    assert found.removed.tolist() == [2]


def test_a_candidate_without_a_set_is_an_error(tmp_path: object) -> None:
    keys = np.zeros(3, np.uint64), np.arange(3, dtype=np.uint32)
    with pytest.raises(ValueError, match=r"found none for 1 of 3 candidates \(first: rank 2\)"):
        near_duplicates(
            lambda _: [keys], 1, 3, ShingleSets.from_sets([{1}, {2}]), "0.8", str(tmp_path)
        )


@pytest.mark.parametrize("threshold", [0, -1, 1.01, "x", "1/0", float("nan"), 1 / 3])
def test_a_threshold_that_is_none_is_an_error(threshold: float | str, tmp_path: object) -> None:
    with pytest.raises(ValueError, match="threshold: found"):
        near_duplicates(lambda _: [], 1, 0, ShingleSets.from_sets([]), threshold, str(tmp_path))


def test_progress_is_told(tmp_path: object) -> None:
    told: list[tuple[int, int]] = []
    keys = np.zeros(5, np.uint64), np.arange(5, dtype=np.uint32)
    near_duplicates(
        lambda _: [keys],
        1,
        5,
        ShingleSets.from_sets([{i} for i in range(5)]),
        "0.8",
        str(tmp_path),
        batch=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(2, 5), (4, 5), (5, 5)]
