"""Signals of documents with images: by hand, row-aligned, and what rules make of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.rules import decide
from quality.signals import SIGNALS as TEXT_SIGNALS
from tests.vl_data.documents import documents, image
from vl_data.dialects import DIALECTS, PRESETS
from vl_data.measure import caption_signals, captions_of, image_signals
from vl_data.repetition import Pairs, distinct_partners, repetition_signals
from vl_data.signals import SIGNALS, schema

DOCUMENTS = documents(
    ("only words here", []),
    ("five words, and one image.", [image(1, width=1000, height=200, caption="A red car.")]),
    (
        "three images of which",
        [
            image(2, blank=True, alt="IMG_0001.jpg"),
            image(3, width=90, height=120, frames=7, caption=" ", alt="Ein Hund im tiefen Schnee"),
            image(2),
        ],
    ),
)


def test_signals_of_images() -> None:
    found = image_signals(DOCUMENTS)
    assert found.schema == schema("images")
    rows = found.to_pylist()
    assert rows[0] == dict.fromkeys(found.column_names) | {"image.count": 0}
    assert rows[1] == {
        "image.count": 1,
        "image.min_side": 200,
        "image.max_side": 1000,
        "image.max_aspect": 5.0,
        "image.max_frames": 1,
        "image.blank_frac": 0.0,
        "image.repeated_frac": 0.0,
        "image.caption_frac": 1.0,
        "image.words_per_image": 5.0,
    }
    third = np.float32(1 / 3)
    assert rows[2]["image.count"] == 3
    assert (rows[2]["image.min_side"], rows[2]["image.max_side"]) == (90, 400)
    assert rows[2]["image.max_aspect"] == np.float32(4 / 3)
    assert rows[2]["image.max_frames"] == 7
    assert rows[2]["image.blank_frac"] == third
    assert rows[2]["image.repeated_frac"] == third
    assert rows[2]["image.caption_frac"] == np.float32(2 / 3)
    assert rows[2]["image.words_per_image"] == np.float32(4 / 3)


def test_signals_of_captions() -> None:
    found = caption_signals(DOCUMENTS)
    assert found.schema == schema("captions")
    rows = found.to_pylist()
    assert set(rows[0].values()) == {None}
    assert rows[1]["caption.words"] == rows[1]["caption.max_words"] == 3
    assert rows[1]["caption.chars"] == 10
    assert rows[1]["caption.is_file_name"] == rows[1]["caption.boilerplate"] == 0.0
    assert (rows[2]["caption.words"], rows[2]["caption.max_words"]) == (2, 5)
    assert rows[2]["caption.is_file_name"] == 0.5
    assert rows[2]["caption.lang"] == "de"
    assert 0 < rows[2]["caption.lang_score"] <= 1


def test_a_caption_of_spaces_is_none_and_alt_stands_in() -> None:
    rows, captions, count = captions_of(DOCUMENTS)
    assert rows.tolist() == [1, 2, 2]
    assert captions.to_pylist() == ["A red car.", "IMG_0001.jpg", "Ein Hund im tiefen Schnee"]
    assert count.tolist() == [0, 1, 2]


@pytest.mark.parametrize("measure", [image_signals, caption_signals])
def test_any_cut_of_the_table_gives_the_same_rows(
    measure: Callable[[pa.Table], pa.Table],
) -> None:
    whole = pa.concat_tables([DOCUMENTS] * 3)
    found = measure(whole)
    pieces = pa.concat_tables([measure(whole.slice(at, 2)) for at in range(0, 9, 2)])
    assert pieces.equals(found)
    assert measure(whole.slice(4, 3)).equals(found.slice(4, 3))
    assert measure(whole.slice(0, 0)).num_rows == 0
    none = DOCUMENTS.slice(0, 1).set_column(1, "images", pa.nulls(1, DOCUMENTS.schema[1].type))
    assert measure(none).equals(measure(DOCUMENTS.slice(0, 1)))


def test_names_are_unique_and_declared_like_those_of_texts() -> None:
    assert not set(SIGNALS) & set(TEXT_SIGNALS)
    for name, signal in SIGNALS.items():
        assert name == signal.name
        assert type(signal) is type(TEXT_SIGNALS["text.words"])


def test_dialects_name_signals_and_can_drop() -> None:
    for dialect in DIALECTS.values():
        for rule in dialect.rules:
            for column in rule.columns:
                assert column in SIGNALS
            signal = SIGNALS[rule.signal]
            if rule.max is not None and signal.maximum is not None:
                assert rule.max < signal.maximum
            if rule.min is not None:
                assert signal.minimum is not None
                assert rule.min > signal.minimum


def test_what_dialects_drop() -> None:
    table = image_signals(DOCUMENTS)
    rules = PRESETS["obelics.images"]
    dropped, value, threshold = decide(table, rules)
    assert dropped[0] == -1
    assert rules[dropped[1]].signal == "image.max_aspect"
    assert (value[1], threshold[1]) == (5, 2)
    assert rules[dropped[2]].signal == "image.min_side"
    gallery = documents(("few words", [image(n) for n in range(3)]), ("few", [image(), image(1)]))
    assert decide(image_signals(gallery), PRESETS["omnicorpus.images"])[0].tolist() == [0, -1]
    many = documents(("words", [image(n) for n in range(31)]))
    assert decide(image_signals(many), rules)[0].tolist() == [3]
    names = documents(
        ("a", [image(caption="IMG_0001.jpg")]),
        ("b", [image(caption="click here to see the image")]),
        ("c", [image(caption="a cat")]),
        ("d", [image(caption="a black cat on a mat")]),
        ("e", []),
    )
    rules = PRESETS["captions"]
    dropped = decide(caption_signals(names), rules)[0]
    found = [None if r < 0 else rules[r].signal for r in dropped]
    assert found == ["caption.words", "caption.boilerplate", "caption.words", None, None]


def plainly(pairs: list[tuple[int, int]]) -> list[int]:
    """``distinct_partners`` as it is defined."""
    return [len({r for left, r in pairs if left == own and r}) for own, _ in pairs]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40))
def test_distinct_partners(pairs: list[tuple[int, int]]) -> None:
    left = np.array([p[0] for p in pairs], np.uint64)
    right = np.array([p[1] for p in pairs], np.uint64)
    assert distinct_partners(left, right).tolist() == plainly(pairs)


def test_large_keys_are_not_mixed_up() -> None:
    large = np.array([2**64 - 1, 2**63, 2**64 - 1, 0], np.uint64)
    assert distinct_partners(large, large[::-1].copy()).tolist() == [1, 1, 1, 1]
    assert distinct_partners(np.array([1, 1], np.uint64), large[:2]).tolist() == [2, 2]


def test_repetition_of_images_and_captions() -> None:
    """Image 7 is in three documents with two captions; caption 5 is with two images."""
    pairs = Pairs(
        document=np.array([0, 1, 1, 3, 3], np.int64),
        image=np.array([7, 7, 0, 7, 9], np.uint32),
        caption=np.array([5, 6, 5, 5, 0], np.uint64),
        template=np.array([1, 1, 1, 1, 0], np.uint64),
    )
    found = repetition_signals(4, pairs)
    assert found.schema == schema("repetition")
    assert found["image.captions"].to_pylist() == [2, 2, None, 2]
    assert found["image.documents"].to_pylist() == [3, 3, None, 3]
    assert found["caption.images"].to_pylist() == [2, 2, None, 2]
    assert found["caption.template_images"].to_pylist() == [2, 2, None, 2]
    order = np.array([3, 1, 4, 0, 2])
    again = Pairs(*(getattr(pairs, f)[order] for f in ("document", "image", "caption", "template")))
    assert repetition_signals(4, again).equals(found)
    with pytest.raises(ValueError, match=r"lengths \[1, 5\]"):
        Pairs(pairs.document[:1], pairs.image, pairs.caption, pairs.template)
