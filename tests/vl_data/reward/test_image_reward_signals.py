"""What captions are worth in their run: against the plain definitions, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.vl_data.documents import documents, image
from tests.vl_data.reward import plain
from vl_data.captions import is_boilerplate, is_file_name, normalised
from vl_data.reward.caption_words import BUCKETS, count_texts, distinct_words, log2_floor, worths
from vl_data.reward.measure import REPETITION, image_reward_signals
from vl_data.reward.pairs import pair_id, pairs_of
from vl_data.reward.scores_file import PairScores
from vl_data.signals import schema

TEXT = st.text("abcdeABC12 -!", max_size=24).map(str.strip)
IMAGE = st.builds(
    lambda number, caption, alt, name: image(
        number, caption=caption or None, alt=alt, ref=f"images/{name or 'x'}.jpg"
    ),
    st.integers(0, 9),
    TEXT,
    st.none() | TEXT.filter(bool),
    st.text("abc12-", max_size=8),
)


def worth_of(table: pa.Table) -> np.ndarray:
    """By a run of one table."""
    counts = np.zeros(BUCKETS, np.int64)
    pairs = pairs_of(table)
    count_texts(distinct_words(pairs.caption), counts)
    return worths(counts, len(pairs))


def table_of(rows: list[list[dict[str, Any]]]) -> pa.Table:
    found = documents(*[("", images) for images in rows])
    return found.append_column("metadata", pa.nulls(len(rows), pa.string()))


def told(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An image's caption is its alternative text where it has no other, and echoes no such text."""
    found = []
    for one in images:
        caption = one["caption"] or one["alt"]
        found.append({**one, "caption": caption, "alt": one["alt"] if one["caption"] else None})
        if found[-1]["alt"] == caption:
            found[-1]["alt"] = None
    return found


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(IMAGE, max_size=4), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 600)), min_size=5, max_size=5),
    st.dictionaries(st.integers(0, 9), st.integers(-2000, 2000)),
)
def test_signals_are_those_of_their_definitions(
    rows: list[list[dict[str, Any]]], shared: list[tuple[int, int]], by_image: dict[int, int]
) -> None:
    # Stock phrases are judged by lists of their own.
    assume(not any(_stock(one["caption"]) for images in rows for one in told(images)))
    gains = {
        (one["digest"], one["caption"]): by_image[number]
        for images in rows
        for one in told(images)
        if one["caption"] and (number := int.from_bytes(one["digest"], "big")) in by_image
    }
    table = table_of(rows)
    counted = pa.table(
        {
            name: pa.array([pair[i] for pair in shared[: len(rows)]], pa.int32())
            for i, name in enumerate(REPETITION)
        }
    )
    found = image_reward_signals(table, worth_of(table), counted, _scores(gains))
    assert found.schema == schema("image_reward")
    wanted = plain.signals([told(images) for images in rows], shared[: len(rows)], gains)
    for got, expected in zip(found.to_pylist(), wanted, strict=True):
        assert got == (dict.fromkeys(got) if expected is None else expected)


def _stock(caption: str | None) -> bool:
    if not caption:
        return False
    text = normalised(pa.array([caption]))
    return bool(is_file_name(text)[0].as_py() or is_boilerplate(text)[0].as_py())


def _scores(gains: dict[Any, int]) -> PairScores:
    ids = sorted((pair_id(*key), gain) for key, gain in gains.items())
    gain = np.array([gain for _, gain in ids], np.int64)
    known = np.ones(len(ids), np.bool_)
    pairs = np.frombuffer(b"".join(one for one, _ in ids), "V16")
    return PairScores("plain", pairs, gain, known, plain.unseen_of(gain), known)


@given(st.integers(1, 1 << 40))
def test_a_logarithm_is_exact(value: int) -> None:
    found = log2_floor(value)
    assert 1 << found <= value**256 < 1 << (found + 1)


def test_words_that_many_captions_have_tell_less() -> None:
    rows = [
        [image(n, caption=f"photo of a {word}")] for n, word in enumerate(["cat"] * 7 + ["yak"])
    ]
    table = table_of(rows)
    found = image_reward_signals(table, worth_of(table))
    bits = found["caption.bits"].to_pylist()
    # log2(9) - log2(8) for three words, and the last word's own.
    common = 3 * (811 - 768)
    assert bits[0] == (common + 811 - 718) / 256
    assert bits[7] == (common + 811 - 0) / 256
    assert found["image_reward.score"][7].as_py() > found["image_reward.score"][0].as_py()


def test_a_title_is_echoed() -> None:
    table = table_of([[image(1, caption="Mount Fuji in winter")], [image(2, caption="A yak")]])
    metadata = pa.array(['{"title": "Fuji (mount)", "n": 1}', '{"n": "title"}'])
    table = table.set_column(table.column_names.index("metadata"), "metadata", metadata)
    found = image_reward_signals(table, worth_of(table))
    assert found["caption.echo_frac"].to_pylist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("caption", "names", "numbers"),
    [
        ("Ada Lovelace in London, 1840.", 2 / 5, 1 / 5),
        ("The dog. The cat", 0, 0),
        ("„Ärger“ mit Öl", 1 / 3, 0),
        ("see 3月 and (NASA)", 1 / 4, 1 / 4),
    ],
)
def test_names_and_numbers(caption: str, names: float, numbers: float) -> None:
    table = table_of([[image(1, caption=caption)]])
    found = image_reward_signals(table, worth_of(table))
    assert found["caption.name_frac"][0].as_py() == np.float32(names)
    assert found["caption.number_frac"][0].as_py() == np.float32(numbers)


def test_names_of_files_and_stock_phrases_inform_of_nothing() -> None:
    captions = ["DSC_0012.JPG", "Click to enlarge", "An old red barn at dusk"]
    table = table_of([[image(n, caption=caption)] for n, caption in enumerate(captions)])
    found = image_reward_signals(table, worth_of(table))
    informative = found["image_reward.informativeness"].to_pylist()
    assert informative[:2] == [0, 0]
    assert informative[2] > 0


def test_without_scores_agreement_is_unknown_and_counts_as_one_point() -> None:
    table = table_of([[image(1, caption="a b")], []])
    found = image_reward_signals(table, worth_of(table))
    row, none = found.to_pylist()
    assert row["image_reward.agreement"] is None
    assert row["image_reward.gain"] is None
    parts = row["image_reward.informativeness"] + row["image_reward.originality"]
    assert row["image_reward.score"] == parts + 1
    assert set(none.values()) == {None}
