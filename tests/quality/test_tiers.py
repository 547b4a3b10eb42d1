"""Tiers: cuts against a plain definition, groups that are too small, and scores on their grid."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.tiers import (
    NO_SCORE,
    Cut,
    Group,
    Grouped,
    Histogram,
    Least,
    Quantiles,
    Way,
    cut_groups,
    first_known,
    tier_codes,
)

THREE = Quantiles.of({"low": 0.3, "high": 1, "medium": 0.75})
ANY = Least(1, 1)

_documents = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 50)), min_size=1, max_size=60
)  # score, tokens
_bounds = st.lists(st.integers(1, 99), min_size=0, max_size=4, unique=True)


def _counted(documents: list[tuple[int, int]]) -> Histogram:
    histogram = Histogram()
    scores, tokens = np.array(documents, np.int64).T
    histogram.add(scores, tokens)
    return histogram


def _plain(documents: list[tuple[int, int]], bound: Fraction) -> set[int]:
    """The scores below a cut: of all cuts between two scores the one that comes nearest to the
    share, of two as near the higher one."""
    whole = sum(tokens for _, tokens in documents)
    scores = sorted({score for score, _ in documents})
    cuts = [set(scores[:n]) for n in range(len(scores) + 1)]

    def miss(cut: set[int]) -> tuple[Fraction, int]:
        below = sum(tokens for score, tokens in documents if score in cut)
        return abs(Fraction(below) - bound * whole), -len(cut)

    return min(cuts, key=miss)


@given(_documents, _bounds)
def test_a_cut_comes_as_near_to_its_share_as_scores_allow(
    documents: list[tuple[int, int]], bounds: list[int]
) -> None:
    shares = {f"t{b}": b / 100 for b in bounds} | {"top": 1.0}
    quantiles = Quantiles.of(shares)
    firsts = _counted(documents).firsts(quantiles)
    assert len(firsts) == len(bounds)
    assert (np.diff(firsts) >= 0).all()
    for first, bound in zip(firsts, quantiles.bounds[:-1], strict=True):
        below = {score for score, _ in documents if score < first}
        assert below == _plain(documents, bound)


@given(_documents, st.randoms(use_true_random=False))
def test_neither_order_nor_batches_matter(documents: list[tuple[int, int]], random: Random) -> None:
    whole = _counted(documents)
    shuffled = list(documents)
    random.shuffle(shuffled)
    parts = Histogram()
    for start in range(0, len(shuffled), 7):
        parts.add_all(_counted(shuffled[start : start + 7]))
    for name in ("scores", "documents", "tokens"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert whole.tokens.sum() == sum(tokens for _, tokens in documents)
    assert whole.documents.sum() == len(documents)


def test_shares_are_those_that_are_written() -> None:
    # 0.1 + 0.2 in binary is more than 0.3: ten scores of one token each, cut after the third.
    histogram = _counted([(score, 1) for score in range(10)])
    assert histogram.firsts(Quantiles.of({"a": 0.3, "b": 1})).tolist() == [3]
    assert Quantiles.of({"a": 0.3, "b": 1}).bounds == (Fraction(3, 10), Fraction(1))


@pytest.mark.parametrize(("more", "first"), [(0, 7), (1, 5)])
def test_tokens_beyond_what_floats_hold_are_cut_exactly(more: int, first: int) -> None:
    # Half of all lies in the middle of score 5, or half a token below it.
    histogram = _counted([(1, (1 << 60) + more), (5, 2), (7, 1 << 60)])
    assert histogram.firsts(Quantiles.of({"a": 0.5, "b": 1})).tolist() == [first]


def _groups(**documents: list[tuple[int, int]]) -> dict[Group, Histogram]:
    return {Group(0, *name.split("_")): _counted(rows) for name, rows in documents.items()}


def test_small_groups_are_cut_as_wider_ones_are() -> None:
    many = [(score, 10) for score in range(100)]
    low = [(score, 10) for score in range(20)]
    counted = _groups(a_en=many, a_de=[(3, 10)], b_en=[(5, 10)] * 3, b_fr=[(9, 10)])
    counted |= _groups(c_fr=[(9, 10), (8, 10)], d_xx=low)
    found = cut_groups(counted, THREE, Least(20, 200))
    assert {f"{g.source}_{g.language}": cut.level for g, cut in found.items()} == {
        "a_en": "source and language",
        "a_de": "source",  # a has 101
        "b_en": "language",  # b has 4, English 103
        "b_fr": "corpus",  # neither b nor French has 20
        "c_fr": "corpus",
        "d_xx": "source and language",
    }
    assert found[Group(0, "a", "en")].firsts == (30, 75)
    assert found[Group(0, "b", "fr")].firsts == found[Group(0, "c", "fr")].firsts


def test_tokens_and_scores_can_be_too_few_as_well_as_documents() -> None:
    counted = _groups(a_en=[(score, 10) for score in range(100)], b_en=[(1, 50), (2, 50)] * 20)
    found = cut_groups(counted, THREE, Least(20, 200))
    # Two scores are not three tiers.
    assert found[Group(0, "b", "en")].level == "language"
    found = cut_groups(counted, THREE, Least(20, 1500))
    assert found[Group(0, "a", "en")].level == "language"


def test_a_corpus_of_one_score_is_of_one_tier() -> None:
    found = cut_groups(_groups(a_en=[(4, 10)] * 50), THREE, ANY)
    cut = found[Group(0, "a", "en")]
    assert cut.level == "corpus"
    table = pa.table({"source": ["a"] * 3, "language": ["en"] * 3})
    grouped = Grouped(np.zeros(3, np.int64), table["source"], table["language"])
    # Half of its tokens lie below the middle of it: between .3 and .75.
    assert tier_codes(grouped, np.array([4, 4, 4]), found).tolist() == [1, 1, 1]


def test_a_way_that_no_train_document_has_gives_no_tier() -> None:
    counted = {Group(0, "a", "en"): _counted([(1, 1)]), Group(1, "a", "en"): Histogram()}
    found = cut_groups(counted, THREE, ANY)
    assert list(found) == [Group(0, "a", "en")]
    table = pa.table({"source": ["a"] * 3, "language": ["en"] * 3})
    grouped = Grouped(np.array([0, 1, -1]), table["source"], table["language"])
    assert tier_codes(grouped, np.array([1, 5, NO_SCORE]), found).tolist()[1:] == [-1, -1]


def test_each_document_has_the_tier_of_its_own_group() -> None:
    cuts = {
        Group(0, "a", "en"): Cut("corpus", (10, 20)),
        Group(0, "a", "de"): Cut("corpus", (1, 2)),
        Group(1, "a", "de"): Cut("corpus", (100, 200)),
    }
    table = pa.table({"language": ["en", "de", "de", "en", "de"], "source": ["a"] * 5})
    way = np.array([0, 0, 1, 0, -1])
    grouped = Grouped(way, table["source"], table["language"])
    found = tier_codes(grouped, np.array([10, 10, 10, 9, 10]), cuts)
    assert found.tolist() == [1, 2, 0, 0, -1]


def test_scores_are_sums_on_the_grid_and_null_where_a_signal_is() -> None:
    table = pa.table(
        {
            "reward.depth": pa.array([1.5, None, 5.0, 0.0], pa.float32()),
            "reward.helpfulness": pa.array([2.015625, 1.0, 5.0, 0.0], pa.float32()),
            "image_reward.score": pa.array([None, 2.0, 1.0, None], pa.float32()),
        }
    )
    text = Way((("reward.depth", 1), ("reward.helpfulness", 2)))
    assert text.scores(table).tolist() == [96 + 2 * 129, NO_SCORE, 960, 0]
    assert text.describe() == "reward.depth + 2 reward.helpfulness"
    way, score = first_known([Way((("image_reward.score", 1),)), text], table)
    assert way.tolist() == [1, 0, 0, 1]
    assert score.tolist() == [354, 128, 64, 0]


@pytest.mark.parametrize("value", [0.1, -1.0])
def test_a_score_off_the_grid_is_an_error(value: float) -> None:
    table = pa.table({"reward.depth": pa.array([1.0, value], pa.float32())})
    with pytest.raises(ValueError, match=r"reward.depth: found a value off the grid"):
        Way((("reward.depth", 1),)).scores(table)
