"""Distances between texts."""

from __future__ import annotations

import random
from functools import cache

import pytest

from trainer.evaluation.edit_distance import edit_distance, plain_form, similarity


def by_definition(first: str, second: str) -> int:
    @cache
    def rest(i: int, j: int) -> int:
        if i == len(first) or j == len(second):
            return len(first) - i + len(second) - j
        if first[i] == second[j]:
            return rest(i + 1, j + 1)
        return 1 + min(rest(i + 1, j), rest(i, j + 1), rest(i + 1, j + 1))

    return rest(0, 0)


def test_the_distance_is_the_fewest_edits() -> None:
    draw = random.Random(1)
    for _ in range(200):
        one, other = ("".join(draw.choices("abc", k=draw.randrange(8))) for _ in "12")
        assert edit_distance(one, other) == by_definition(one, other)
    assert edit_distance("kitten", "sitting") == 3


def test_similarity_is_a_share_of_the_longer_text() -> None:
    assert similarity("", "") == similarity("abc", "abc") == 1
    assert similarity("", "abc") == similarity("xyz", "abc") == 0
    assert similarity("abcd", "abc") == pytest.approx(0.75)
    assert plain_form("  Two\n Words ") == "two words"
