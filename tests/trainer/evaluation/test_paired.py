"""Intervals of paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.evaluation.paired import paired_difference


def test_the_interval_is_that_of_the_mean() -> None:
    """With many clusters of one the bootstrap is the normal approximation."""
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 800, p=[0.1, 0.6, 0.3])
    found = paired_difference(values, range(800), seed="a")
    error = values.std() / math.sqrt(800)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert found.excludes_zero
    assert found == paired_difference(values, range(800), seed="a")
    assert found != paired_difference(values, range(800), seed="b")


def test_questions_of_a_picture_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=100), 4)
    apart = paired_difference(values, range(400), seed="a")
    together = paired_difference(values, [i // 4 for i in range(400)], seed="a")
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(2, rel=0.1)


def test_nothing_is_no_difference() -> None:
    with pytest.raises(ValueError, match="found no difference"):
        paired_difference([], [], seed="a")
    alike = paired_difference([0.0, 0.0], ["a", "b"], seed="a")
    assert (alike.value, alike.low, alike.high, alike.excludes_zero) == (0, 0, 0, False)
