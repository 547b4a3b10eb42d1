"""How far a text is from another, in letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def edit_distance(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The fewest insertions, deletions and replacements that make one into the other (Levenshtein).

    Time is the product of the lengths, memory the shorter one.
    """
    if len(first) < len(second):
        first, second = second, first
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def similarity(found: str, expected: str) -> float:
    """1 for equal texts, 0 for texts with nothing in common: one less the distance over the longer
    length."""
    longest = max(len(found), len(expected))
    return 1.0 if not longest else 1 - edit_distance(found, expected) / longest


def plain_form(text: str) -> str:
    """A text as answers are compared: without case, and one blank for each stretch of blanks."""
    return " ".join(text.split()).casefold()
