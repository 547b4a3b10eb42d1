from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.report.diff import MAX_SHOWN, compare, edit_script

WORDS = st.lists(st.sampled_from("abc"), max_size=14)


def longest_common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, by the textbook table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            best = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else best
    return table[-1][-1]


@settings(deadline=None)
@given(WORDS, WORDS)
def test_script_covers_both_lists_and_is_shortest(a: list[str], b: list[str]) -> None:
    edits, shortest = edit_script(a, b)
    assert shortest
    assert [w for kind, lo, hi, _, _ in edits if kind != "+" for w in a[lo:hi]] == a
    assert [w for kind, _, _, lo, hi in edits if kind != "-" for w in b[lo:hi]] == b
    assert all(a[i:j] == b[k:m] for kind, i, j, k, m in edits if kind == "=")
    assert sum(hi - lo for kind, lo, hi, _, _ in edits if kind == "=") == longest_common(a, b)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_beyond_the_limit_the_script_still_covers_both(a: list[str], b: list[str]) -> None:
    edits, _ = edit_script(a, b, limit=1)
    assert [w for kind, lo, hi, _, _ in edits if kind != "+" for w in a[lo:hi]] == a
    assert [w for kind, _, _, lo, hi in edits if kind != "-" for w in b[lo:hi]] == b


def test_words_that_differ_are_shown_with_their_neighbours() -> None:
    shared = " ".join(f"w{i}" for i in range(100))
    result = compare(f"{shared} old {shared}", f"{shared} new {shared}")
    assert [piece for piece in result.pieces if piece[0] in "-+"] == [("-", "old"), ("+", "new")]
    assert [kind for kind, _ in result.pieces] == ["~", "=", "-", "+", "=", "~"]
    assert (result.removed, result.added, result.exact) == (1, 1, True)


def test_a_cut_of_long_texts_is_no_difference() -> None:
    text = " ".join(f"w{i}" for i in range(9000))
    result = compare(text, f"more at the start {text}")
    assert (result.removed, result.added, result.exact) == (0, 4, False)


def test_unrelated_long_texts_take_bounded_time_and_space() -> None:
    start = time.process_time()
    a = " ".join(f"a{i}" for i in range(20_000))
    b = " ".join(f"b{i}" for i in range(20_000))
    result = compare(a, b)
    assert not result.exact
    assert sum(len(text) for _, text in result.pieces) < 2 * MAX_SHOWN
    assert time.process_time() - start < 20
