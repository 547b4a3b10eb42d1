"""Scores out of likelihoods, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.reward.labeler.calibration import best_name, calibrated, expected_score

LOGS = st.lists(st.floats(-800, 0), min_size=6, max_size=6)


@settings(deadline=None)
@given(LOGS, LOGS)
def test_calibration_divides_probabilities(found: list[float], empty: list[float]) -> None:
    shares = calibrated(found, empty)
    assert sum(shares) == pytest.approx(1)
    assert 0 <= expected_score(found, empty) <= 5 + 1e-9
    for i in range(6):
        for j in range(6):
            if min(shares[i], shares[j]) > 1e-300:
                odds = math.log(shares[i] / shares[j])
                assert odds == pytest.approx(
                    (found[i] - empty[i]) - (found[j] - empty[j]), rel=1e-6, abs=1e-6
                )


def test_a_document_that_changes_nothing_is_in_the_middle() -> None:
    """A model that always says 5 has said nothing of a document by saying it."""
    always = [-9.0, -9.0, -9.0, -9.0, -9.0, -0.001]
    assert expected_score(always, always) == pytest.approx(2.5)


def test_the_expected_score_is_a_mean() -> None:
    empty = np.log([0.1, 0.1, 0.2, 0.2, 0.2, 0.2])
    found = np.log([0.05, 0.05, 0.2, 0.3, 0.2, 0.2])
    weights = np.exp(found - empty)
    wanted = float((np.arange(6) * weights).sum() / weights.sum())
    assert expected_score(found.tolist(), empty.tolist()) == pytest.approx(wanted)


def test_names_are_compared_by_the_byte() -> None:
    # "news" gains 2 nats on 4 bytes; the long name gains 3 on 24.
    names = (" news", " science and mathematics")
    assert best_name(names, [-3.0, -20.0], [-5.0, -23.0]) == " news"
    assert best_name(names, [-3.0, -20.0], [-5.0, -43.0]) == " science and mathematics"
    assert best_name(names, [-1.0, -1.0], [-1.0, -1.0]) == " news"
