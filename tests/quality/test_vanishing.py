"""When a category counts as taken away."""

from __future__ import annotations

from quality.vanishing import vanishing

BEFORE = {"a": 9000, "b": 990, "c": 9, "d": 10}


def test_a_category_that_loses_more_than_is_allowed_is_named_with_its_shares() -> None:
    (found,) = vanishing(BEFORE, {"a": 9000, "b": 98, "c": 0, "d": 9}, loss=0.9, share=0.001)
    assert found.category == "b"
    assert found.before == 990 / 10009
    assert found.after == 98 / 9107
    assert found.describe() == "b: 9.89 % of all before, 1.08 % after (90.1 % of it gone)"


def test_what_is_lost_to_the_very_bound_is_not_told() -> None:
    # 90 % is not more than 90 %, as decimals have it.
    assert not vanishing(BEFORE, {**BEFORE, "b": 99}, loss=0.9, share=0.001)
    assert vanishing(BEFORE, {**BEFORE, "b": 98}, loss=0.9, share=0.001)


def test_rare_categories_do_not_count() -> None:
    assert not vanishing(BEFORE, {"a": 9000, "b": 990, "d": 10}, loss=0.9, share=0.001)
    (found,) = vanishing(BEFORE, {"a": 9000, "b": 990, "d": 10}, loss=0.9, share=0)
    assert found.category == "c"


def test_shares_are_compared_where_amounts_are_of_different_things() -> None:
    # A mixture of a tenth of the corpus: all amounts fall, only one share does.
    after = {"a": 900, "b": 5, "c": 1, "d": 1}
    assert [v.category for v in vanishing(BEFORE, after, loss=0.85, share=0)] == [
        "a", "b", "c", "d",
    ]  # fmt: skip
    (found,) = vanishing(BEFORE, after, loss=0.9, share=0, of_shares=True)
    assert found.category == "b"


def test_when_nothing_is_left_everything_vanished() -> None:
    found = vanishing(BEFORE, {}, loss=0.9, share=0.001, of_shares=True)
    assert [v.category for v in found] == ["a", "b"]
    assert not vanishing({}, {}, loss=0.9, share=0)
