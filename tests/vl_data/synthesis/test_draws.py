"""Draws: the same numbers everywhere, all as likely."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vl_data.synthesis.draws import Draws


def chi_square(counts: Counter[object], kinds: int) -> float:
    """Pearson's statistic against equal odds."""
    expected = sum(counts.values()) / kinds
    missing = (kinds - len(counts)) * expected
    return missing + sum((n - expected) ** 2 / expected for n in counts.values())


def test_a_key_gives_these_numbers_on_every_machine() -> None:
    draws = Draws(7, "counting", 12)
    found = [draws.below(1000) for _ in range(6)]
    assert found == GOLDEN
    assert draws.shuffled(range(6)) == GOLDEN_ORDER


GOLDEN = [684, 11, 851, 787, 769, 762]
GOLDEN_ORDER = [4, 1, 5, 2, 0, 3]


def test_keys_that_look_alike_are_different() -> None:
    streams = [Draws(*key).noise(32).tobytes() for key in (("a", "b"), ("a\0b",), (1,), ("1",))]
    assert len(set(streams)) == 4


def test_numbers_shuffles_and_noise_are_even() -> None:
    draws = Draws("even")
    numbers = Counter[object](draws.below(7) for _ in range(7000))
    assert chi_square(numbers, 7) < 30  # p < 5e-5 at 6 degrees of freedom
    orders = Counter[object](tuple(draws.shuffled("abc")) for _ in range(6000))
    assert chi_square(orders, 6) < 30
    noise = draws.noise(200, 300)
    assert noise.shape == (200, 300)
    assert abs(float(noise.mean()) - 127.5) < 1.5
    assert len(np.unique(noise)) == 256


def test_ends_are_reached_and_kept() -> None:
    draws = Draws("ends")
    assert {draws.between(-1, 1) for _ in range(200)} == {-1, 0, 1}
    assert all(0.5 <= draws.uniform(0.5, 0.75) < 0.75 for _ in range(500))
    assert {draws.coin() for _ in range(50)} == {True, False}


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(ValueError, match="found 0 to draw from"):
        Draws("none").below(0)
    with pytest.raises(ValueError, match="found 2 items, expected at least the 3"):
        Draws("few").picks("ab", 3)


def test_noise_leaves_later_draws_alone_whatever_its_shape() -> None:
    one, two = Draws("noise"), Draws("noise")
    one.noise(4)
    two.noise(100, 100)
    assert one.below(1 << 60) == two.below(1 << 60)
