"""Tags by an endpoint, and how they are spread."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from blake3 import blake3

from quality.endpoint.settings import Endpoint, Model
from quality.endpoint.store import AnswerStore
from tests.quality.endpoint.misbehaving import says, serving
from tests.vl_data.labels.answering import picture_of, tags
from tests.vl_data.made_images import encode, pixels
from vl_data.labels.distribution import long_tail, tag_distribution
from vl_data.labels.interfaces import Tagger
from vl_data.labels.items import Pair, Picture, pair_digest
from vl_data.labels.tables import TAGS
from vl_data.labels.tagger import EndpointTagger

WIDE = encode(pixels(64, 32), "png")


def test_a_row_for_each_pair(tmp_path: Path) -> None:
    picture = Picture(blake3(WIDE).digest(), lambda: WIDE)
    pairs = [
        Pair("1", "Object  Counting: how many?", "3", (picture,)),
        Pair("2", "geometry: what angle?", "90"),
        Pair("3", "geometry: what angle?", "90"),
    ]
    with serving(tags()) as server, AnswerStore(tmp_path) as store:
        tagger: Tagger = EndpointTagger(Endpoint(server.url), Model("toy"), store)
        table = tagger.tag(pairs)
    assert table.schema.equals(TAGS)
    assert {r["digest"]: r["tag"] for r in table.to_pylist()} == {
        pairs[0].digest(): "object counting",
        pairs[1].digest(): "geometry",
    }
    images = [isinstance(r["messages"][-1]["content"], list) for r in server.requests]
    assert sorted(images) == [False, True]
    assert picture_of(server.requests[images.index(True)]).size == (64, 32)


@pytest.mark.parametrize(
    "said", ['{"tag": ""}', '{"tag": "a b c d e f g"}', '{"tag": ["x"]}', '{"label": "x"}']
)
def test_a_tag_that_is_none_is_a_mismatch(tmp_path: Path, said: str) -> None:
    with serving(says(said)) as server, AnswerStore(tmp_path) as store:
        tagger = EndpointTagger(Endpoint(server.url, answers=2), Model("toy"), store)
        table = tagger.tag([Pair("1", "i", "a")])
    assert table["reason"].to_pylist() == ["schema-mismatch"]
    assert table["tag"].to_pylist() == [None]
    assert len(server.requests) == 2


def test_pairs_differ_by_every_part() -> None:
    digests = {
        pair_digest("ab", "c"),
        pair_digest("a", "bc"),
        pair_digest("ab", "c", [b"x" * 32]),
        pair_digest("ab", "c", [b"y" * 32]),
        pair_digest("ab", "c", [b"x" * 32, b"y" * 32]),
        pair_digest("ab", "c", [b"y" * 32, b"x" * 32]),
    }
    assert len(digests) == 6


def _labels(*tags: str | None) -> pa.Table:
    return pa.table({"tag": pa.array(tags, pa.string())})


def test_the_distribution_counts_tags() -> None:
    labels = _labels("b", "a", None, "c", "a", "b", "a", "d", None, "e", "a", "a", "a")
    table = tag_distribution(labels)
    assert table["tag"].to_pylist() == ["a", "b", "c", "d", "e"]
    assert table["count"].to_pylist() == [6, 2, 1, 1, 1]
    assert table["share"].to_pylist() == [6 / 11, 2 / 11, 1 / 11, 1 / 11, 1 / 11]
    assert table["cumulative"].to_pylist()[-1] == 1
    tail = long_tail(labels)
    assert (tail.tagged, tail.untagged, tail.tags, tail.singletons) == (11, 2, 5, 3)
    assert (tail.half, tail.ninety, tail.ninety_nine) == (1, 4, 5)


def test_no_tags_are_no_distribution() -> None:
    assert tag_distribution(_labels()).num_rows == 0
    tail = long_tail(_labels(None))
    assert (tail.tagged, tail.untagged, tail.tags, tail.half) == (0, 1, 0, 0)
