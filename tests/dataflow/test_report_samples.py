from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.report.clusters import ClusterSizes
from dataflow.report.highlight import EXCERPT, excerpt, find_spans
from dataflow.report.pools import Pool, Rows


def _offer(pool: Pool, values: np.ndarray, ids: np.ndarray, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(values)]
    for low, high in pairwise(edges):
        part = np.stack([ids[low:high], ids[low:high] + 1], axis=1).astype(np.uint64)
        pool.offer(Rows(0, low, part, part), np.arange(high - low), values[low:high])


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_a_pool_is_the_same_however_rows_are_batched(
    distances: list[float], cuts: list[int], limit: int, rng: random.Random
) -> None:
    values = np.array(distances)
    ids = np.array(rng.sample(range(10_000), len(values)), np.uint64)
    cuts = [min(cut, len(values)) for cut in cuts]
    pool = Pool(limit)
    _offer(pool, values, ids, cuts)
    order = np.lexsort((ids, values))[:limit]
    assert pool.picks["hi"].tolist() == ids[order].tolist()
    assert pool.picks["row"].tolist() == order.tolist()


def test_copies_of_a_text_count_once() -> None:
    ids = np.array([[1, 1], [2, 2], [3, 3]], np.uint64)
    contents = np.array([[7, 7], [7, 7], [8, 8]], np.uint64)
    pool = Pool(10)
    pool.offer(Rows(0, 0, ids, contents), np.arange(3), np.zeros(3))
    assert pool.best(5)["hi"].tolist() == [1, 3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(1, 20), st.randoms())
def test_cluster_sizes_do_not_depend_on_order(
    members: list[int], limit: int, rng: random.Random
) -> None:
    spread = np.random.default_rng(5).integers(0, 2**63, 31).astype(np.uint64) * np.uint64(2)
    keys = spread[np.array(members)]
    first, second = ClusterSizes(limit), ClusterSizes(limit)
    first.add(keys)
    shuffled = members[:]
    rng.shuffle(shuffled)
    for member in shuffled:
        second.add(spread[[member]])
    assert first.finish()[0].tolist() == second.finish()[0].tolist()
    assert first.finish()[1].tolist() == second.finish()[1].tolist()
    assert first.sampled == second.sampled
    assert len(first.finish()[0]) <= limit
    exact = dict(zip(*np.unique(keys, return_counts=True), strict=True))
    assert all(exact[k] == n for k, n in zip(*first.finish(), strict=True))


CASES = {
    "gopher.top_2_gram_char_frac": ("red sky now red sky later red sky", ["red sky"] * 3),
    "gopher.dup_5_gram_char_frac": ("a b c d e f. a b c d e g.", ["a b c d e"]),
    "gopher.dup_line_frac": ("one\ntwo\none\n", ["one"]),
    "gopher.dup_para_frac": ("x y\n\nz\n\nx y\n\n", ["x y\n"]),
    "fineweb.line_punct_ratio": ("Menu\nA sentence.\nFooter", ["Menu", "Footer"]),
    "gopher.bullet_line_frac": ("- one\ntwo", ["- one"]),
    "gopher.hash_ratio": ("# a ## b", ["#", "##"]),
    "c4.javascript_lines": ("Turn on JavaScript now", ["JavaScript"]),
    "c4.curly_bracket_lines": ("a { b", ["{"]),
    "text.max_line_chars": ("short\nthe longest\nmid", ["the longest"]),
    "gopher.words": ("nothing to mark", []),
    "lang.label": ("nothing to mark", []),
}


@pytest.mark.parametrize("signal", CASES)
def test_what_a_signal_counts_is_marked(signal: str) -> None:
    text, expected = CASES[signal]
    assert [text[start:end] for start, end in find_spans(signal, text)] == expected


@settings(deadline=None)
@given(st.text(alphabet="ab \n#", max_size=1500), st.integers(20, EXCERPT))
def test_an_excerpt_is_a_piece_of_the_text_around_the_marks(text: str, limit: int) -> None:
    spans = find_spans("gopher.hash_ratio", text)
    pieces = excerpt(text, spans, limit)
    shown = "".join(str(piece) for piece, _ in pieces)
    body = shown.removeprefix("… ").removesuffix(" …")
    assert body in text
    assert len(body) <= limit
    assert all(set(str(piece)) == {"#"} for piece, marked in pieces if marked)
    if spans:
        assert any(marked for _, marked in pieces)
