"""The paper's mix: captions by even odds, descriptions of a length, balanced prompt types."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vl_data.mix.balance import balanced_weights, draw_balanced, draw_type, quotas
from vl_data.mix.captions import caption_text, draw_caption
from vl_data.mix.descriptions import DescriptionLength, fit_description
from vl_data.mix.odds import chance
from vl_data.mix.refusals import SampleRefused

IDS = [hashlib.sha256(str(i).encode()).digest()[:16] for i in range(4000)]


def words(text: str) -> int:
    return len(text.split())


def test_raw_and_refined_captions_are_drawn_with_even_odds_by_content() -> None:
    drawn = [draw_caption("raw", "refined", key, seed=1) for key in IDS]
    share = sum(caption.kind == "refined" for caption in drawn) / len(IDS)
    assert abs(share - 0.5) < 0.04  # five standard deviations
    assert all(caption.text == caption.kind for caption in drawn)
    again = [draw_caption("raw", "refined", key, seed=1) for key in reversed(IDS)]
    assert again[::-1] == drawn
    other = [draw_caption("raw", "refined", key, seed=2) for key in IDS]
    assert 0.4 < sum(a == b for a, b in zip(drawn, other, strict=True)) / len(IDS) < 0.6


def test_the_only_caption_is_taken_and_none_is_refused() -> None:
    for key in IDS[:20]:
        assert draw_caption(" raw ", "  ", key) == ("raw", "raw")
        assert draw_caption(None, "fine", key) == ("fine", "refined")
    with pytest.raises(SampleRefused, match=r"^empty-answer: "):
        draw_caption(" ", None, IDS[0])


def test_shares_at_the_ends_are_never_and_always() -> None:
    assert not any(chance("x", 0, key, 0.0) for key in IDS)
    assert all(chance("x", 0, key, 1.0) for key in IDS)
    with pytest.raises(ValueError, match=r"share of 1\.5, expected 0 to 1"):
        chance("x", 0, IDS[0], 1.5)


def test_a_caption_cannot_forge_a_mark() -> None:
    assert caption_text(" a \ufffc cat ") == "\ufffc\na \ufffd cat"


def test_descriptions_are_whole_cut_between_sentences_or_none() -> None:
    length = DescriptionLength(least=4, target=10, most=15)
    assert fit_description("Too short.", words, length) is None
    assert fit_description(" One two three four. ", words, length) == "One two three four."
    sentences = " ".join(f"The number {i} stands." for i in range(9))  # 4 words each
    assert fit_description(sentences, words, length) == " ".join(
        f"The number {i} stands." for i in range(2)
    )
    assert fit_description("word " * 40, words, length) is None
    assert DescriptionLength().target == 300
    with pytest.raises(ValueError, match="in ascending order"):
        DescriptionLength(least=500)


def test_japanese_sentences_end_too() -> None:
    length = DescriptionLength(least=2, target=6, most=8)
    assert fit_description("赤い円です。青い円です。緑の円です。", len, length) == "赤い円です。"


def test_weights_give_every_type_the_same() -> None:
    types = ["a"] * 90 + ["b"] * 9 + ["c"]
    weights = balanced_weights(types)
    assert weights.sum() == pytest.approx(1)
    for name in "abc":
        assert sum(w for w, t in zip(weights, types, strict=True) if t == name) == pytest.approx(
            1 / 3
        )


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 30), min_size=1), st.integers(0, 100)
)
def test_quotas_are_as_even_as_can_be(available: dict[str, int], count: int) -> None:
    if count > sum(available.values()):
        with pytest.raises(ValueError, match=r"found .* samples to draw from"):
            quotas(available, count)
        return
    found = quotas(available, count)
    assert sum(found.values()) == count
    most = max(found.values())
    for name, number in found.items():
        assert 0 <= number <= available[name]
        assert number == available[name] or number >= most - 1


def test_a_balanced_draw_hangs_on_ids_and_not_on_their_order() -> None:
    types = ["common" if i % 50 else "rare" for i in range(len(IDS))]
    drawn = draw_balanced(IDS, types, 300, seed=4)
    assert len(set(drawn)) == 300
    assert Counter(types[i] for i in drawn) == {"rare": 80, "common": 220}
    backwards = draw_balanced(IDS[::-1], types[::-1], 300, seed=4)
    assert [IDS[::-1][i] for i in backwards] == [IDS[i] for i in drawn]
    assert draw_balanced(IDS, types, 300, seed=5) != drawn


def test_repeats_fill_up_a_rare_type_only_after_each_was_drawn() -> None:
    types = ["rare"] * 10 + ["common"] * 90
    drawn = Counter(draw_balanced(IDS[:100], types, 50, repeats=3))
    rare = [drawn[i] for i in range(10)]
    assert sum(rare) == 25
    assert set(rare) == {2, 3}
    assert max(drawn[i] for i in range(10, 100)) == 1
    with pytest.raises(
        ValueError, match="found 300 samples to draw from, expected at least the 301"
    ):
        draw_balanced(IDS[:100], types, 301, repeats=3)
    with pytest.raises(ValueError, match="found 4000 ids and 1 types"):
        draw_balanced(IDS, ["x"], 1)


def test_a_samples_prompt_type_is_drawn_evenly() -> None:
    counts = Counter(draw_type(["open", "choice", "check"], key) for key in IDS)
    assert all(abs(n / len(IDS) - 1 / 3) < 0.04 for n in counts.values())
    assert draw_type(["check", "open", "choice"], IDS[3]) == draw_type(
        ["open", "choice", "check"], IDS[3]
    )
