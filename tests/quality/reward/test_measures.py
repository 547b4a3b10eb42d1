"""Rank statistics against SciPy and their definitions; intervals by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, spearmanr

from quality.reward.evaluation.measures import (
    auc,
    indicators,
    interval,
    partial_spearman,
    spearman,
)

_VALUES = st.lists(st.integers(0, 5), min_size=6, max_size=40)


@given(_VALUES, st.integers(0, 9))
def test_spearman_is_scipys(values: list[int], seed: int) -> None:
    scores = np.array(values, float)
    truth = np.random.default_rng(seed).integers(0, 4, len(values)).astype(float)
    found = spearman(scores, truth)
    if len(set(values)) == 1 or len(set(truth.tolist())) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(scores, truth).statistic)


@given(_VALUES, st.integers(0, 9))
def test_auc_is_the_share_of_pairs_in_order(values: list[int], seed: int) -> None:
    scores = np.array(values, float)
    kept = np.random.default_rng(seed).random(len(values)) < 0.5
    if kept.all() or not kept.any():
        assert np.isnan(auc(scores, kept))
        return
    expected = mannwhitneyu(scores[kept], scores[~kept]).statistic / (kept.sum() * (~kept).sum())
    assert auc(scores, kept) == pytest.approx(expected)


def test_what_is_given_explains_nothing_more() -> None:
    random = np.random.default_rng(1)
    length = random.normal(size=400)
    scores, truth = (length + random.normal(size=400) * 0.3 for _ in range(2))
    ranks = np.argsort(np.argsort(length)).astype(float)[:, None]
    assert spearman(scores, truth) > 0.8
    assert abs(partial_spearman(scores, truth, ranks)) < 0.15
    assert np.isnan(partial_spearman(length, truth, ranks))


def test_a_partial_correlation_of_one_given_is_the_formula() -> None:
    random = np.random.default_rng(2)
    data = random.normal(size=(200, 3)) @ random.normal(size=(3, 3))
    ranks = np.argsort(np.argsort(data[:, 2])).astype(float)[:, None]
    one, other, both = (
        spearmanr(data[:, a], data[:, b]).statistic for a, b in ((0, 2), (1, 2), (0, 1))
    )
    expected = (both - one * other) / np.sqrt((1 - one**2) * (1 - other**2))
    assert partial_spearman(data[:, 0], data[:, 1], ranks) == pytest.approx(expected)


def test_groups_of_few_are_one() -> None:
    groups = ["en"] * 6 + ["de"] * 5 + ["fr"] * 2
    found = indicators(groups)
    assert found.shape == (13, 2)
    assert found.sum(axis=0).tolist() == [5, 6]
    assert found[-1].tolist() == [0, 0]


def test_intervals_cover_as_often_as_they_say() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        sample = random.normal(size=60)
        found = interval(lambda at, sample=sample: float(sample[at].mean()), 60, 300)  # type: ignore[misc]
        assert found.low < found.value < found.high
        covered += found.low <= 0 <= found.high
    # 95 % of 200 is 190; four standard deviations are 12, and percentiles are a little short.
    assert 174 <= covered <= 200


def test_an_interval_is_the_same_again() -> None:
    sample = np.arange(30.0)
    assert interval(lambda at: float(sample[at].mean()), 30) == interval(
        lambda at: float(sample[at].mean()), 30
    )


def test_what_samples_do_not_define_is_refused() -> None:
    with pytest.raises(ValueError, match="found 4, expected 5 or more"):
        interval(len, 4)
    with pytest.raises(ValueError, match="samples do not define"):
        interval(lambda at: spearman(np.zeros(9)[at], np.arange(9.0)[at]), 9)
