"""Which image stands in for a caption's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.caption_gains import ShownPair, others_of


def shown(document: int, picture: int, copy: int = 0) -> ShownPair:
    """A pair of a picture in one of its files, which differ in their bytes alone."""
    digest = f"{picture}/{copy}".encode().ljust(32)
    return ShownPair(b"", document, digest, str(picture).encode(), "a caption")


PAIRS = st.lists(
    st.builds(shown, st.integers(0, 5), st.integers(0, 6), st.integers(0, 1)), max_size=12
)


@given(PAIRS, st.integers(1, 4))
def test_others_are_of_other_documents_and_look_different(
    pairs: list[ShownPair], count: int
) -> None:
    pixels = {pair.digest: pair.pixels for pair in pairs}
    for pair, others in zip(pairs, others_of(pairs, count), strict=True):
        own = {one.pixels for one in pairs if one.document == pair.document}
        there = {one.pixels for one in pairs} - own
        mine = [pixels[digest] for digest in others]
        assert len(set(mine)) == len(mine) == min(count, len(there))
        assert set(mine) <= there
        assert set(others) <= {one.digest for one in pairs}


@given(PAIRS, st.randoms(use_true_random=False))
def test_they_hang_on_no_order(pairs: list[ShownPair], random: object) -> None:
    single = list(
        {pair.pixels: shown(int(pair.pixels), int(pair.pixels)) for pair in pairs}.values()
    )
    turned = single[:]
    random.shuffle(turned)  # type: ignore[attr-defined]
    found = dict(zip((p.digest for p in single), others_of(single), strict=True))
    assert found == dict(zip((p.digest for p in turned), others_of(turned), strict=True))
    # Each is somebody's other once.
    if len(single) > 1:
        assert sorted(other for (other,) in found.values()) == sorted(found)


def test_more_others_begin_with_the_fewer() -> None:
    pairs = [shown(n, n) for n in range(9)]
    few, more = others_of(pairs, 2), others_of(pairs, 5)
    assert [each[:2] for each in more] == few
