"""Intersections are exact or refused for good reason; bitmaps never refuse a pair that belongs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.hash_sets import bitmap_distance, fill_bitmaps, intersection_size, locate_bitmaps

HASHES = st.sets(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=200)


def ascending(elements: set[int]) -> NDArray[np.uint64]:
    return np.array(sorted(elements), np.uint64)


def bitmap(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    lengths = np.array([len(values)], np.uint32)
    starts = np.empty(2, np.int64)
    locate_bitmaps(lengths, starts)
    out = np.empty(int(starts[-1]), np.uint64)
    fill_bitmaps(values, lengths, starts, out)
    return out


@settings(deadline=None)
@given(HASHES, HASHES, st.integers(0, 200))
def test_intersection_is_exact_where_it_reaches_the_need(
    left: set[int], right: set[int], need: int
) -> None:
    common = len(left & right)
    found = intersection_size(ascending(left), ascending(right), need)
    assert found == (common if common >= need else -1)


@settings(deadline=None)
@given(HASHES, HASHES)
def test_bitmap_distance_never_exceeds_the_difference(left: set[int], right: set[int]) -> None:
    distance = bitmap_distance(bitmap(ascending(left)), bitmap(ascending(right)))
    assert distance <= len(left ^ right)
    assert distance % 2 == len(left ^ right) % 2


@settings(deadline=None)
@given(HASHES, HASHES)
def test_bitmap_distance_is_symmetric(left: set[int], right: set[int]) -> None:
    a, b = bitmap(ascending(left)), bitmap(ascending(right))
    assert bitmap_distance(a, b) == bitmap_distance(b, a)
    assert bitmap_distance(a, a) == 0


def test_bitmaps_tell_most_different_sets_apart() -> None:
    random = np.random.default_rng(5)
    common = random.integers(0, 2**64, 400, dtype=np.uint64)
    refused = 0
    for _ in range(50):
        # 400 of 533 elements shared: similarity .75.
        left, right = (
            np.sort(np.append(common, random.integers(0, 2**64, 67, dtype=np.uint64)))
            for _ in range(2)
        )
        allowed = 2 * 467 - 2 * int(np.ceil(0.8 * 2 * 467 / 1.8))
        refused += bitmap_distance(bitmap(left), bitmap(right)) > allowed
    assert refused > 45


def test_bitmaps_of_many_sets_lie_one_after_the_other() -> None:
    sets = [ascending(set(range(n, 3 * n))) for n in (0, 1, 8, 9, 100)]
    lengths = np.array([len(values) for values in sets], np.uint32)
    starts = np.empty(6, np.int64)
    locate_bitmaps(lengths, starts)
    out = np.empty(int(starts[-1]), np.uint64)
    fill_bitmaps(np.concatenate(sets), lengths, starts, out)
    for i, values in enumerate(sets):
        np.testing.assert_array_equal(out[starts[i] : starts[i + 1]], bitmap(values))
