"""The survivor order's expressions: what they compute, how nulls sort, what they refuse."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.recipe.expressions import ExpressionError, Floats, evaluate, parse_term, sort_key

STAMP = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "text.words": pa.array([10, 20, None, 40], pa.int32()),
        "lang.score": pa.array([0.5, 0.25, 1.0, 0.0], pa.float32()),
        "lang.label": pa.array(["en", "de", None, "en"], pa.string()),
        "captured_at": pa.array(
            [
                dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
                None,
                dt.datetime(1970, 1, 2, tzinfo=dt.UTC),
                None,
            ],
            pa.timestamp("s", tz="UTC"),
        ),
    }
)
TYPES = {field.name: field.type for field in TABLE.schema}
NAN = math.nan


def value(text: str) -> Floats:
    return evaluate(parse_term(text, TYPES), TABLE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text.words", [10, 20, NAN, 40]),
        ("-text.words + 2 * 3", [-4, -14, NAN, -34]),
        ("text.words / lang.score", [20, 80, NAN, NAN]),
        ("min(text.words, 15, 12)", [10, 12, NAN, 12]),
        ("max(text.words, 15)", [15, 20, NAN, 40]),
        ("text.words > 15", [0, 1, NAN, 1]),
        ("text.words <= 20", [1, 1, NAN, 0]),
        ("lang.label == 'en'", [1, 0, NAN, 1]),
        ("lang.label != 'en'", [0, 1, NAN, 0]),
        ("'en' == lang.label", [1, 0, NAN, 1]),
        ("(lang.label == 'de') * 5 + 1", [1, 6, NAN, 1]),
        ("captured_at", [1577836800, NAN, 86400, NAN]),
        ("7", [7, 7, 7, 7]),
        ("'a' == 'a'", [1, 1, 1, 1]),
        ("0 / 0", [NAN] * 4),
        ("lang.score == 0.5", [1, 0, 0, 0]),
    ],
)
def test_values(text: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(value(text), expected)


def test_direction_and_nulls_last() -> None:
    up, down = parse_term("text.words", TYPES), parse_term(" text.words  desc ", TYPES)
    assert not up.descending
    assert down.descending
    assert down.columns == ("text.words",)
    assert np.argsort(sort_key(up, TABLE), kind="stable").tolist() == [0, 1, 3, 2]
    assert np.argsort(sort_key(down, TABLE), kind="stable").tolist() == [3, 1, 0, 2]
    assert parse_term("text.words asc", TYPES).descending is False


def test_zeros_have_one_key() -> None:
    zeros = sort_key(parse_term("0 * text.words desc", TYPES), TABLE)
    assert not np.signbit(zeros[:2]).any()


def test_chunks_and_slices() -> None:
    term = parse_term("text.words * (lang.label == 'en')", TYPES)
    whole = evaluate(term, TABLE)
    np.testing.assert_array_equal(evaluate(term, TABLE.slice(1)), whole[1:])
    again = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    np.testing.assert_array_equal(evaluate(term, again), whole)
    empty = evaluate(term, TABLE.slice(0, 0))
    assert len(empty) == 0


@given(
    st.recursive(
        st.sampled_from(["text.words", "lang.score", "2", "0.5", "captured_at"]),
        lambda inner: (
            st.tuples(inner, st.sampled_from("+-*/<"), inner).map(
                lambda t: f"({t[0]} {t[1]} {t[2]})"
            )
            | st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
                lambda t: f"{t[0]}({t[1]}, {t[2]})"
            )
        ),
        max_leaves=12,
    )
)
def test_rows_are_independent(text: str) -> None:
    term = parse_term(text, TYPES)
    whole = evaluate(term, TABLE)
    rows = [evaluate(term, TABLE.slice(i, 1))[0] for i in range(TABLE.num_rows)]
    np.testing.assert_array_equal(whole, rows)
    assert not np.isinf(whole).any()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "desc",
        "text.words text.words",
        "__import__('os')",
        "text.words ** 2",
        "text.words.__class__",
        "[1]",
        "lambda: 1",
        "text.words if 1 else 2",
        "a and b",
        "1 < 2 < 3",
        "lang.label",
        "lang.label + 1",
        "lang.label < 'x'",
        "lang.label == 3",
        "min(1)",
        "min(1, default=3)",
        "abs(text.words)",
        "'x'",
        "True.real",
        "1e999",
        "9" * 400,
        "1j",
        "b'x'",
        "f'{1}'",
        "(" * 300 + "1" + ")" * 300,
        "1" + "+1" * 200,
        "-" * 500 + "1",
        "x := 1",
        "text.words; 1",
        "1 +\x00 1",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_term(text, TYPES)


def test_unknown_column_names_the_nearest() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_term("text.word desc", TYPES)
    assert caught.value.nearest == "text.words"
    with pytest.raises(ExpressionError) as caught:
        parse_term("maxi(1, 2)", TYPES)
    assert caught.value.nearest == "max"
