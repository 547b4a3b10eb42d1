"""Sorting in spilled runs gives what sorting in memory gives, in bounded arrays."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.external import LEAST_RUN, _spill, sorted_records

KIND = np.dtype([("score", "f8"), ("high", "u8"), ("row", "i8"), ("payload", "u1")])
FIELDS = ["score", "high", "row"]


def _records(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    records = np.empty(count, KIND)
    records["score"] = random.choice([-np.inf, -1.5, 0.0, 2.0, np.inf], count)
    records["high"] = random.integers(2**63, 2**63 + 5, count, dtype=np.uint64)
    records["row"] = random.permutation(count)
    records["payload"] = random.integers(0, 256, count)
    return records


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 2000),
    seed=st.integers(0, 99),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
    memory=st.integers(1, 60_000),
)
def test_neither_memory_nor_cuts_change_the_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, cuts: list[int], memory: int
) -> None:
    scratch = tmp_path_factory.mktemp("sort")
    records = _records(count, seed)
    batches = np.split(records, sorted(cuts))
    found = list(sorted_records(batches, FIELDS, scratch, "test", memory))
    joined = np.concatenate([np.empty(0, KIND), *found])
    expected = records[np.lexsort([records["row"], records["high"], records["score"]])]
    assert joined.tolist() == expected.tolist()
    capacity = max(LEAST_RUN, memory // (2 * KIND.itemsize + 24))
    assert max(map(len, found), default=0) <= capacity + -(-count // capacity)
    assert not list(scratch.iterdir())


def test_runs_that_follow_each_other_are_each_read_in_one_piece(tmp_path: Path) -> None:
    records = _records(50 * LEAST_RUN, 3)
    records["score"] = np.arange(len(records))
    for ordered in (records, records[::-1]):
        found = list(sorted_records([ordered], FIELDS, tmp_path, "test", 1))
        assert np.array_equal(np.concatenate(found), records)
        assert len(found) <= 2 * 50


def test_a_full_disk_says_where_and_what_to_do() -> None:
    with pytest.raises(OSError, match=r"No space left.*spilling [\d,]+ bytes.*TMPDIR.*/dev/full"):
        _spill(_records(100_000, 0), Path("/dev/full"))


def test_a_sort_that_fits_writes_nothing(tmp_path: Path) -> None:
    found = list(sorted_records([_records(100, 0)], FIELDS, tmp_path / "absent", "test", 1 << 20))
    assert len(found) == 1


def test_records_that_cannot_be_told_apart_are_an_error_and_no_endless_merge(
    tmp_path: Path,
) -> None:
    records = np.zeros(10 * LEAST_RUN, KIND)
    with pytest.raises(ValueError, match="records with one key"):
        list(sorted_records([records], FIELDS, tmp_path, "test", 1))


def test_a_run_that_lost_its_end_is_an_error(tmp_path: Path) -> None:
    chunks = sorted_records([_records(10 * LEAST_RUN, 1)], FIELDS, tmp_path, "test", 1)
    next(chunks)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[: 8 * KIND.itemsize])
    with pytest.raises(ValueError, match="expected"):
        list(chunks)


def test_a_sort_holds_what_it_was_granted(tmp_path: Path) -> None:
    granted = 4 << 20

    def batches() -> Iterator[np.ndarray]:
        for seed in range(40):
            records = _records(20_000, seed)
            records["row"] += seed * 20_000
            yield records

    tracemalloc.start()
    try:
        count = sum(map(len, sorted_records(batches(), FIELDS, tmp_path, "test", granted)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 800_000
    # The records take 20 MB. A batch, made and held, is one more.
    assert peak < granted + (2 << 20)
