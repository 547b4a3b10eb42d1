"""Spans never overlap, and removing them accounts for every byte."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.cleaning import Spans, _without_overlap, find_spans, remove_spans
from dataflow.steps.columns import text_buffers

spans_of_rows = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(1, 8), st.integers(0, 1)),
    max_size=12,
)


def _spans(rows: list[tuple[int, int, int, int]]) -> Spans:
    ordered = sorted(rows, key=lambda r: (r[0], r[1], r[3], -r[2]))
    columns = np.asarray(ordered, np.int64).reshape(-1, 4).T
    return Spans(*columns)


@given(spans_of_rows)
def test_merged_spans_cover_the_same_bytes_once(rows: list[tuple[int, int, int, int]]) -> None:
    merged = _without_overlap(_spans(rows))
    covered = {(d, b) for d, s, n, _ in rows for b in range(s, s + n)}
    found = [
        (int(d), b)
        for d, s, n in zip(merged.document, merged.start, merged.length, strict=True)
        for b in range(s, s + n)
    ]
    assert len(found) == len(set(found))
    assert set(found) == covered


@given(spans_of_rows)
def test_removal_leaves_the_other_bytes_in_order(rows: list[tuple[int, int, int, int]]) -> None:
    texts = [bytes(range(40)), b"x" * 40, bytes(range(40, 80))]
    spans = _without_overlap(_spans(rows))
    cleaned, removed = remove_spans(pa.array(texts, pa.large_binary()), spans)
    gone = {(d, b) for d, s, n, _ in rows for b in range(s, s + n)}
    for number, text in enumerate(texts):
        left = bytes(c for at, c in enumerate(text) if (number, at) not in gone)
        assert cleaned[number].as_py() == left
        assert removed[number] == len(text) - len(left)


def test_a_span_outside_of_its_text_is_an_error() -> None:
    spans = _spans([(0, 2, 5, 0)])
    with pytest.raises(ValueError, match="outside of its text"):
        remove_spans(pa.array([b"abc"], pa.large_binary()), spans)


def test_cleaners_find_what_they_are_for() -> None:
    texts = [
        "A line that stays, it has words enough.\nok\nA line on our cookie policy, no more.\n",
        "bell \x07 and nul \0\0 here",
        "nothing to do in this one",
    ]
    data, offsets = text_buffers(pa.chunked_array([pa.array(texts, pa.large_string())]))
    options = {"terminal_punctuation": False, "min_words": 3}
    cleaners = [
        {"name": "control", "options": {}},
        {"name": "c4.lines", "options": options},
    ]
    spans = find_spans(data, offsets, cleaners)
    cleaned, removed = remove_spans(pa.array([t.encode() for t in texts], pa.large_binary()), spans)
    assert cleaned[1].as_py() == b"bell  and nul  here"
    assert cleaned[2].as_py() == texts[2].encode()
    kept = cleaned[0].as_py().decode()
    assert "A line that stays" in kept
    assert "cookie" not in kept
    assert "ok" not in kept.split("\n")
    assert removed.tolist() == [
        len(t) - len(c.as_py()) for t, c in zip(texts, cleaned, strict=True)
    ]
    assert set(spans.cleaner[spans.document == 1]) == {0}
    assert set(spans.cleaner[spans.document == 0]) == {1}


def test_no_cleaners_find_nothing() -> None:
    spans = find_spans(np.zeros(0, np.uint8), np.zeros(1, np.int64), [])
    assert len(spans.start) == 0
