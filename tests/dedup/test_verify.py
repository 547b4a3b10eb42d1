"""Thresholds are decimal fractions, compared in integers; components join nothing else."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import ShingleSets, connected_components, exact_threshold, is_near_duplicate, jaccard


@pytest.mark.parametrize(
    "given_as", [0.8, "0.8", ".8", "4/5", Fraction(4, 5), Decimal("0.80"), "80e-2"]
)
def test_four_fifths_is_four_fifths(given_as: float | str | Fraction | Decimal) -> None:
    assert exact_threshold(given_as) == Fraction(4, 5)


@given(st.integers(1, 10**9))
def test_every_decimal_of_nine_places_is_exact(numerator: int) -> None:
    assert exact_threshold(f"{numerator / 10**9:.9f}") == Fraction(numerator, 10**9)
    assert exact_threshold(numerator / 10**9) == Fraction(numerator, 10**9)


@given(st.integers(0, 1000), st.integers(1, 1000), st.fractions("1/100", 1, max_denominator=1000))
def test_comparison_is_that_of_fractions(overlap: int, union: int, threshold: Fraction) -> None:
    expected = overlap > 0 and Fraction(overlap, union) >= threshold
    assert is_near_duplicate(overlap, union, threshold) == expected


def test_jaccard_of_sets() -> None:
    sets = ShingleSets.from_sets([{1, 2, 3}, {2, 3, 4}, set()])
    assert jaccard(sets, 0, 1) == Fraction(1, 2)
    assert jaccard(sets, 0, 2) == jaccard(sets, 2, 2) == 0
    assert not is_near_duplicate(0, 0, Fraction(4, 5))


def test_components_are_named_by_their_smallest_member() -> None:
    left = np.array([900, 7, 4_000_000_000], np.uint32)
    right = np.array([7, 8, 5], np.uint32)
    members, cluster = connected_components(left, right)
    assert members.tolist() == [5, 7, 8, 900, 4_000_000_000]
    assert cluster.tolist() == [5, 7, 7, 7, 5]
    nobody = np.empty(0, np.uint32)
    assert [len(part) for part in connected_components(nobody, nobody)] == [0, 0]
