"""Rules keep and drop what they say, whatever the column type, nulls and order."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.rules import Condition, Rule, RuleError, decide, failures


def table(**columns: object) -> pa.Table:
    return pa.table(columns)


def one(rule: Rule, column: pa.Array) -> list[bool]:
    found: list[bool] = failures(pa.table({rule.signal: column}), [rule])[:, 0].tolist()
    return found


def test_bounds_are_inclusive() -> None:
    rule = Rule("r", "x", min=2, max=4)
    assert one(rule, pa.array([1, 2, 3, 4, 5], pa.int32())) == [True, False, False, False, True]


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 99))
def test_a_document_on_the_threshold_is_kept(n: int, scale: int, threshold: int) -> None:
    """Exact arithmetic decides: n/d against threshold/100, stored in float32."""
    d = 100 * scale
    value = np.float32(n / d)
    exact = n * 100 > threshold * d
    if (n * 100 == threshold * d) or abs(n / d - threshold / 100) > 1e-7:
        assert one(Rule("r", "x", max=threshold / 100), pa.array([value], pa.float32())) == [exact]


def test_nulls_and_nan_never_fail() -> None:
    rules = [
        Rule("a", "x", min=1),
        Rule("b", "x", max=-1),
        Rule("c", "t", in_=("q",)),
        Rule("d", "t", not_in=("q",)),
    ]
    found = failures(
        table(
            x=pa.array([None, float("nan")], pa.float32()), t=pa.array([None, None], pa.string())
        ),
        rules,
    )
    assert not found.any()


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int16(), pa.string())]
)
def test_text_sets(kind: pa.DataType) -> None:
    column = pa.array(["en", "de", None, "en"], pa.string()).cast(kind)
    assert one(Rule("r", "lang", in_=("en", "fr")), column) == [False, True, False, False]
    assert one(Rule("r", "lang", not_in=("en",)), column) == [True, False, False, True]
    chunked = pa.table({"lang": pa.chunked_array([column[:1], column[1:]])})
    found = failures(chunked, [Rule("r", "lang", in_=("de",))])
    assert found[:, 0].tolist() == [True, False, False, True]


def test_number_sets_and_timestamps() -> None:
    assert one(Rule("r", "x", in_=(1, 3)), pa.array([1, 2, 3], pa.int8())) == [False, True, False]
    day = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    stamps = pa.array([day, None], pa.timestamp("s", tz="UTC"))
    assert one(Rule("r", "at", min=day.timestamp() + 1), stamps) == [True, False]


def test_when_limits_a_rule() -> None:
    rule = Rule(
        "r", "x", min=5, when=(Condition("lang", "in", ("en",)), Condition("y", "min", 1.0))
    )
    found = failures(
        table(
            x=[1, 1, 1, 1, 9],
            lang=["en", "de", "en", None, "en"],
            y=pa.array([1, 1, None, 1, 1], pa.int32()),
        ),
        [rule],
    )
    assert found[:, 0].tolist() == [True, False, False, False, False]


def test_decide_names_the_first_failing_rule_its_value_and_bound() -> None:
    rules = [
        Rule("short", "x", min=2, max=10),
        Rule("lang", "lang", in_=("en",)),
        Rule("frac", "f", max=0.25),
    ]
    rule, value, threshold = decide(
        table(
            x=pa.array([1, 11, 5, 5, 5], pa.int32()),
            lang=["de", "de", "de", "en", "en"],
            f=pa.array([0.5, 0.5, 0.5, 0.5, 0.25], pa.float32()),
        ),
        rules,
    )
    assert rule.tolist() == [0, 0, 1, 2, -1]
    assert rule.dtype == np.int16
    np.testing.assert_array_equal(value, [1, 11, np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(threshold, [2, 10, np.nan, 0.25, np.nan])


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.data())
def test_decide_agrees_with_failures(values: list[int], data: st.DataObject) -> None:
    bounds = data.draw(
        st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=4)
    )
    rules = [Rule(f"r{i}", "x", min=min(b), max=max(b)) for i, b in enumerate(bounds)]
    t = table(x=pa.array(values, pa.int16()))
    rule, value, threshold = decide(t, rules)
    fails = failures(t, rules)
    for i, x in enumerate(values):
        failing = [r for r, b in enumerate(bounds) if not min(b) <= x <= max(b)]
        assert fails[i].nonzero()[0].tolist() == failing
        assert rule[i] == (failing[0] if failing else -1)
        if failing:
            low, high = sorted(bounds[failing[0]])
            assert value[i] == x
            assert threshold[i] == (low if x < low else high)


def test_threshold_is_given_only_where_a_bound_was_crossed() -> None:
    rule = Rule("r", "x", max=9, not_in=(5,))
    _, value, threshold = decide(table(x=[5, 10]), [rule])
    assert value.tolist() == [5, 10]
    np.testing.assert_array_equal(threshold, [np.nan, 9])


def test_no_rules_and_no_rows() -> None:
    rule, value, threshold = decide(table(x=[1, 2]), [])
    assert rule.tolist() == [-1, -1]
    assert np.isnan(value).all()
    assert np.isnan(threshold).all()
    empty = decide(table(x=pa.array([], pa.int32())), [Rule("r", "x", min=1)])
    assert [len(part) for part in empty] == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected one of min, max, in, not_in"),
        ({"min": 2, "max": 1}, "min 2 above max 1"),
        ({"min": float("nan")}, "expected a finite threshold"),
        ({"max": float("inf")}, "expected a finite threshold"),
    ],
)
def test_impossible_rules(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        Rule("r", "x", **arguments)  # type: ignore[arg-type]


def test_missing_column_names_the_nearest() -> None:
    with pytest.raises(RuleError, match=r"'gopher\.word'.*nearest is 'gopher\.words'"):
        failures(pa.table({"gopher.words": [1]}), [Rule("r", "gopher.word", min=1)])


@pytest.mark.parametrize(
    "rule", [Rule("r", "t", min=1), Rule("r", "x", in_=("a",)), Rule("r", "b", min=1)]
)
def test_incomparable_types(rule: Rule) -> None:
    t = table(t=["a"], x=[1], b=pa.array([b"x"], pa.binary()))
    with pytest.raises(RuleError, match="cannot test column"):
        failures(t, [rule])


def test_json_round_trip_and_description() -> None:
    rule = Rule(
        "r",
        "x",
        min=1,
        not_in=(7, 8),
        when=(Condition("lang", "in", ("en", "de")), Condition("y", "max", 3)),
    )
    plain = rule.to_json()
    assert plain == {
        "name": "r",
        "signal": "x",
        "min": 1,
        "not_in": [7, 8],
        "when": {"lang": {"in": ["en", "de"]}, "y": {"max": 3}},
    }
    assert Rule.from_json(plain) == rule
    assert rule.describe() == "1 <= x and x not in [7, 8] when lang in [en, de] and y <= 3"
    assert Rule("r", "x", min=50, max=1e5).describe() == "50 <= x <= 100000"
