"""Numbers of tokens and scales as people write them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from mixtures.amounts import format_tokens, parse_scale, parse_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (8192, 8192),
        ("128Ki", 131_072),
        ("16Mi", 1 << 24),
        ("11.4T", 11_400_000_000_000),
        ("300B", 300 * 10**9),
        ("1.5K", 1500),
        (3e11, 3 * 10**11),
        ("2e6", 2_000_000),
    ],
)
def test_tokens(text: Any, tokens: int) -> None:
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "many", "1.0005K", "3 k", "-5", True, None, "1KiB", "nan"])
def test_what_is_no_number_of_tokens(text: Any) -> None:
    with pytest.raises(ValueError, match="expected a number of tokens"):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("1/64", Fraction(1, 64)),
        (0.25, Fraction(1, 4)),
        (1, Fraction(1)),
        ("3 / 8", Fraction(3, 8)),
    ],
)
def test_scale(text: Any, scale: Fraction) -> None:
    assert parse_scale(text) == scale


@pytest.mark.parametrize("text", ["0", "1/0", "-1/2", "half", True, Fraction(-1, 2), "1e-3"])
def test_what_is_no_scale(text: Any) -> None:
    with pytest.raises(ValueError, match="expected a scale"):
        parse_scale(text)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.7, "1K"),
        (43_487_549, "43.5M"),
        (11.4e12, "11.4T"),
        (5e15, "5e+03T"),
    ],
)
def test_tokens_for_people(tokens: float, text: str) -> None:
    assert format_tokens(tokens) == text
