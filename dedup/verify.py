"""Exact Jaccard similarity against a threshold, in integers.

A threshold is a fraction p/q (``.8`` means 4/5, never the binary number next to it), and
``overlap / union >= p / q`` is ``overlap * q >= p * union``.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from dedup.shingles import ShingleSets

# Keeps p * (|A| + |B|) inside 64 bits for sets of up to a thousand million shingles.
_LARGEST_DENOMINATOR = 1_000_000_000

Threshold = Fraction | Decimal | str | int | float


def exact_threshold(threshold: Threshold) -> Fraction:
    """The threshold as a fraction in (0, 1]: a float stands for its shortest decimal form.

    Accepts ``.8``, ``"0.8"``, ``"4/5"``, a ``Fraction`` or a ``Decimal``.
    """
    expected = "expected a fraction above 0 and at most 1, such as 0.8 or 4/5"
    try:
        exact = Fraction(repr(threshold) if isinstance(threshold, float) else threshold)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"threshold: found {threshold!r}, {expected}") from error
    if not 0 < exact <= 1:
        raise ValueError(f"threshold: found {threshold!r}, {expected}")
    if exact.denominator > _LARGEST_DENOMINATOR:
        raise ValueError(f"threshold: found {threshold!r}, expected at most 9 decimal places")
    return exact


def is_near_duplicate(overlap: int, union: int, threshold: Fraction) -> bool:
    """Whether ``overlap / union >= threshold``; two empty sets are not alike."""
    return overlap > 0 and overlap * threshold.denominator >= threshold.numerator * union


def jaccard(shingles: ShingleSets, left: int, right: int) -> Fraction:
    """Exact Jaccard similarity of two documents' shingle sets; 0 where both are empty."""
    overlap, union = shingles.overlap(left, right)
    return Fraction(overlap, union) if union else Fraction(0)
