"""Which images stand in for others: chosen by hashes, wherever the images lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.other_images import OtherImages, Shown


def _documents(seed: int, count: int = 300) -> list[list[Shown]]:
    """Documents of up to three images, some of which others show too, or show without a caption."""
    draw = np.random.default_rng(seed)
    made = []
    for number in range(count):
        each = []
        for _ in range(int(draw.integers(1, 4))):
            pixels = int(draw.integers(0, 200))
            file = int(draw.integers(0, 2))
            captioned = bool(draw.random() < 0.8)
            each.append(Shown(b"p%d" % pixels, b"d%d.%d" % (pixels, file), captioned, number % 5))
        made.append(each)
    return made


def _pool(documents: list[list[Shown]], size: int) -> OtherImages:
    def again() -> Iterator[list[Shown]]:
        return iter(documents)

    return OtherImages(again, size)


SHOWN = st.builds(
    lambda pixels, file, captioned: Shown(
        b"p%d" % pixels, b"d%d.%d" % (pixels, file), captioned, 0
    ),
    *(st.integers(0, 9), st.integers(0, 1), st.booleans()),
)


@given(st.lists(st.lists(SHOWN, min_size=1, max_size=4), max_size=10), st.integers(1, 5))
def test_others_are_all_that_no_document_shows_beside(
    documents: list[list[Shown]], count: int
) -> None:
    pool = _pool(documents, 100)
    captioned = {shown.pixels for each in documents for shown in each if shown.captioned}
    for pixels in {shown.pixels for each in documents for shown in each}:
        mine = [{shown.pixels for shown in each} for each in documents]
        beside = set().union(*(each for each in mine if pixels in each))
        found = [b"p" + digest[1:].partition(b".")[0] for digest in pool.of(pixels, count)]
        assert len(set(found)) == len(found) == min(count, len(captioned - beside))
        assert set(found) <= captioned - beside
        # More begin with the fewer.
        assert pool.of(pixels, count + 1)[:count] == pool.of(pixels, count)


def test_each_is_somebodys_other_once() -> None:
    single = [[Shown(b"p%d" % n, b"d%d" % n, True, 0)] for n in range(30)]
    pool = _pool(single, 30)
    assert sorted(pool.of(b"p%d" % n, 1)[0] for n in range(30)) == sorted(pool.places())


@pytest.mark.parametrize("size", [8, 40, 1000])
def test_neither_order_nor_places_matter(size: int) -> None:
    documents = _documents(1)
    pool = _pool(documents, size)
    order = np.random.default_rng(2).permutation(len(documents))
    turned = [
        [replace(shown, place=7) for shown in reversed(documents[number])] for number in order
    ]
    other = _pool(turned, size)
    assert list(other.places()) == list(pool.places())
    for number in range(200):
        assert other.of(b"p%d" % number, 4) == pool.of(b"p%d" % number, 4)


def test_the_pool_has_captioned_images_each_once() -> None:
    documents = _documents(3)
    captioned = {shown.pixels: set[bytes]() for each in documents for shown in each}
    for each in documents:
        for shown in each:
            if shown.captioned:
                captioned[shown.pixels].add(shown.digest)
    least = {pixels: min(found) for pixels, found in captioned.items() if found}
    assert sorted(_pool(documents, 1000).places()) == sorted(least.values())
    few = list(_pool(documents, 30).places())
    assert len(few) == 30
    # A larger pool holds a smaller one, and begins with it.
    assert list(_pool(documents, 60).places())[:30] == few


def test_no_document_shows_an_image_with_its_other() -> None:
    documents = _documents(4)
    pool = _pool(documents, 50)
    shown_by: dict[bytes, set[int]] = {}
    for number, each in enumerate(documents):
        for shown in each:
            shown_by.setdefault(shown.pixels, set()).add(number)
    used = set()
    for pixels, mine in shown_by.items():
        others = pool.of(pixels, 4)
        assert len(set(others)) == 4
        for digest in others:
            assert not mine & shown_by[b"p" + digest[1:].partition(b".")[0]]
        used |= set(others)
    assert len(used) > 40


def test_there_may_be_fewer_than_asked_for() -> None:
    pair = [[Shown(b"a", b"1", True, 0), Shown(b"b", b"2", True, 0)], [Shown(b"c", b"3", True, 1)]]
    pool = _pool(pair, 8)
    assert pool.of(b"a", 4) == [b"3"]
    assert sorted(pool.of(b"c", 4)) == [b"1", b"2"]
    assert _pool(pair[:1], 8).of(b"a", 4) == []
    assert pool.places() == {b"1": 0, b"2": 0, b"3": 1}
