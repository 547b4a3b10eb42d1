"""Samples are functions of settings and number; settings that cannot be are refused."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from vl_data.synthesis.boxes import box_text, moved
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.errors import SynthesisError
from vl_data.synthesis.families import FAMILIES
from vl_data.synthesis.synthesise import Settings, synthesise, synthesise_many
from vl_data.synthesis.texts import WORDS, TextPool

DOCUMENTS = [("one", "alpha beta gamma delta " * 40), ("two", "river bridge stone water " * 40)]


def test_a_sample_hangs_on_its_number_and_not_on_what_was_made_before() -> None:
    settings = Settings(seed=5, size=112)
    in_turn = list(synthesise_many(20, settings, DOCUMENTS))
    backwards = TextPool(reversed(DOCUMENTS))
    for number in (19, 3, 11):
        assert synthesise(number, settings, backwards) == in_turn[number]
    assert {sample.family for sample in in_turn} == set(FAMILIES)


def test_seeds_and_splits_draw_anew() -> None:
    settings = [
        Settings(seed=0, size=56),
        Settings(seed=1, size=56),
        Settings(size=56, split="heldout"),
    ]
    images = {synthesise(2, s, TextPool()).image for s in settings}
    assert len(images) == 3


def test_a_persons_matplotlibrc_has_no_part() -> None:
    import matplotlib as mpl

    settings = Settings(size=224, families=("charts",))
    plain = [synthesise(i, settings, TextPool()).image for i in range(6)]
    with mpl.rc_context({"axes.grid": True, "lines.linewidth": 9, "figure.dpi": 33}):
        assert [synthesise(i, settings, TextPool()).image for i in range(6)] == plain
        assert mpl.rcParams["lines.linewidth"] == 9


def test_mixed_aspects_keep_the_longer_side() -> None:
    settings = Settings(size=336, aspects="mixed")
    samples = list(synthesise_many(48, settings, DOCUMENTS))
    sizes = {Image.open(io.BytesIO(s.image)).size for s in samples}
    assert {(s.width, s.height) for s in samples} == sizes
    assert {max(size) for size in sizes} == {336}
    assert (336, 168) in sizes
    assert (168, 336) in sizes


def test_the_largest_size_can_be_made() -> None:
    settings = Settings(size=1344)
    for number in range(len(FAMILIES)):
        sample = synthesise(number, settings, TextPool(DOCUMENTS))
        assert Image.open(io.BytesIO(sample.image)).size == (1344, 1344)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 55}, "size: found 55, expected 56 to 1344"),
        ({"size": 1345}, "size: found 1345"),
        ({"size": 60, "aspects": "mixed"}, "shortest side is 30 pixels"),
        ({"families": ("couting",)}, "found 'couting', expected some of counting"),
        ({"families": ("ocr", "ocr")}, "found 'ocr' twice"),
        ({"families": ()}, "found none"),
        ({"size": 56, "families": ("tables",)}, "at least 112 for the family 'tables'"),
        ({"split": "test"}, "split: found 'test'"),
        ({"aspects": "tall"}, "aspects: found 'tall'"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SynthesisError, match=said):
        Settings(**wrong)


def test_where_no_document_can_be_drawn_the_list_serves() -> None:
    pool = TextPool([("x", "漢字 文書"), ("y", ""), ("z", "<|user|> <image> \ufffc")])
    drawn = pool.words(Draws("words"), 3)
    assert drawn.source is None
    assert set(drawn.words) <= set(WORDS)


def test_words_of_a_document_stand_there_in_that_order() -> None:
    text = " ".join(f"word{i}" for i in range(3000))
    draws = Draws("order")
    for _ in range(50):
        drawn = TextPool([("numbers", text)]).words(draws, 5)
        assert drawn.source == "numbers"
        assert " ".join(drawn.words) in text
        assert all(word in text.split() for word in drawn.words)


def test_boxes_as_text_are_rounded_thousandths() -> None:
    assert box_text((0, 0, 56, 28), 56, 56) == "[0, 0, 1000, 500]"
    assert box_text((1, 2, 3, 4), 3, 300) == "[333, 7, 1000, 13]"


def test_a_moved_box_is_elsewhere_and_inside() -> None:
    draws = Draws("moved")
    for box in ((0, 0, 10, 10), (20, 5, 50, 50), (3, 3, 50, 50)):
        for _ in range(20):
            left, top, right, bottom = moved(draws, box, 56, 56)
            assert (right - left, bottom - top) == (box[2] - box[0], box[3] - box[1])
            assert 0 <= left < right <= 56
            assert 0 <= top < bottom <= 56
            assert (left, top, right, bottom) != box
    with pytest.raises(ValueError, match="nowhere to move"):
        moved(draws, (0, 0, 56, 56), 56, 56)
