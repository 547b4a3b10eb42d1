"""What repetition costs one tier more than another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mixtures.statistics import StatisticsError, as_runs, holm, rise_differences
from mixtures.statistics.turning_data import Runs

EPOCHS = (1.0, 2.0, 4.0)


def _runs(table: NDArray[np.float64], seeds: list[int], epochs: tuple[float, ...] = EPOCHS) -> Runs:
    """Of a table [seeds, epochs]."""
    e, s = np.meshgrid(epochs, seeds)
    there = np.isfinite(table)
    return as_runs(e[there], table[there], s[there])


def _made(seed: int, rises: tuple[float, ...], seeds: int = 5) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 1, (seeds, 1))
    noise = rng.normal(0, 0.01, (seeds, len(rises)))
    return np.asarray(levels + np.asarray(rises) + noise)


def test_they_are_scipys_paired_test_of_rises_whatever_a_seeds_level() -> None:
    one, other = _made(0, (2, 2.1, 2.5)), _made(1, (3, 3.05, 3.1))
    found = rise_differences(_runs(one, [0, 1, 2, 3, 4]), _runs(other, [0, 1, 2, 3, 4]))
    plain = []
    for column, at in enumerate(found, start=1):
        first, second = one[:, column] - one[:, 0], other[:, column] - other[:, 0]
        test = stats.ttest_rel(first, second)
        low, high = test.confidence_interval(0.95)
        assert (at.fewest, at.epochs, at.seeds) == (1, EPOCHS[column], 5)
        assert at.one == pytest.approx(first.mean())
        assert at.other == pytest.approx(second.mean())
        assert at.difference == pytest.approx(first.mean() - second.mean())
        assert (at.p, at.low, at.high) == pytest.approx((test.pvalue, low, high))
        plain.append(test.pvalue)
    assert [at.p_adjusted for at in found] == pytest.approx(holm(plain).tolist())


def test_seeds_are_paired_by_their_number_and_those_of_one_tier_left_out() -> None:
    one, other = _made(2, (2, 2.1, 2.5), 6), _made(3, (3, 3.05, 3.1), 5)
    whole = rise_differences(_runs(one[1:], [1, 2, 3, 4, 5]), _runs(other, [1, 2, 3, 4, 5]))
    found = rise_differences(_runs(one, [0, 1, 2, 3, 4, 5]), _runs(other, [1, 2, 3, 4, 5]))
    assert [at.difference for at in found] == pytest.approx([at.difference for at in whole])
    assert {at.seeds for at in found} == {5}


def test_a_number_of_epochs_with_too_few_runs_is_left_out() -> None:
    one, other = _made(4, (2, 2.1, 2.5), 4), _made(5, (3, 3.05, 3.1), 4)
    one[2, 1] = np.nan
    found = rise_differences(_runs(one, [0, 1, 2, 3]), _runs(other, [0, 1, 2, 3]))
    assert [at.epochs for at in found] == [4]
    one[2, 2] = one[1, 2] = np.nan
    with pytest.raises(StatisticsError, match="found no number of epochs above 1 at which 4 seeds"):
        rise_differences(_runs(one, [0, 1, 2, 3]), _runs(other, [0, 1, 2, 3]))


def test_other_fewest_epochs_are_refused() -> None:
    one, other = _made(6, (2, 2.1, 2.5)), _made(7, (3, 3.05, 3.1))
    with pytest.raises(StatisticsError, match="found fewest epochs of 1 and 2, expected the same"):
        rise_differences(
            _runs(one, [0, 1, 2, 3, 4]), _runs(other, [0, 1, 2, 3, 4], (2.0, 4.0, 8.0))
        )


def test_tiers_alike_are_told_apart_as_often_as_alpha_says() -> None:
    seen = 0
    for draw in range(300):
        pair = (_made(2 * draw, (2, 2.1, 2.5)), _made(2 * draw + 1, (2, 2.1, 2.5)))
        found = rise_differences(*(_runs(table, [0, 1, 2, 3, 4]) for table in pair))
        seen += any(at.p_adjusted < 0.05 for at in found)
    assert stats.binomtest(seen, 300, 0.05).pvalue > 0.001
