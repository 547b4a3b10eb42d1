"""Documents packed whole: none lost, none twice, and no fuller than lengths allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtures.length_histogram import LengthHistogram
from mixtures.packer import Packed, Packer

I64 = npt.NDArray[np.int64]


def pack(
    lengths: Sequence[int], length: int, *, epochs: int = 1, window: int = 4, cut: int = 10**9
) -> tuple[Packer, list[Packed]]:
    """All sequences of documents 0, 1, …, in this order in each epoch, taken ``cut`` at a time."""
    packer = Packer(length, window)
    sizes = np.array(lengths, np.int64)
    found: list[Packed] = []
    for epoch in range(epochs):
        for low in range(0, len(sizes), cut):
            part = sizes[low : low + cut]
            found += packer.add(low + np.arange(len(part)), part)
        found += packer.end_epoch(last=epoch + 1 == epochs)
    return packer, found


def sequences(packed: Sequence[Packed]) -> Iterator[tuple[list[tuple[int, int]], int]]:
    """(document, start) of the pieces of each sequence, and its tokens."""
    for part in packed:
        ends = np.cumsum(part.counts)
        assert len(part.documents) == len(part.starts) == (ends[-1] if len(ends) else 0)
        pieces = list(zip(part.documents.tolist(), part.starts.tolist(), strict=True))
        for end, count, fill in zip(
            ends.tolist(), part.counts.tolist(), part.fills.tolist(), strict=True
        ):
            yield pieces[end - count : end], fill


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_token_is_lost_and_none_is_there_twice(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 40))
    lengths = data.draw(
        st.lists(st.one_of(st.integers(1, 12), st.integers(1, 3 * length + 1)), max_size=60)
    )
    epochs = data.draw(st.integers(1, 4))
    window = data.draw(st.integers(1, 6))
    _, packed = pack(lengths, length, epochs=epochs, window=window)
    seen: Counter[tuple[int, int]] = Counter()
    for pieces, fill in sequences(packed):
        sizes = [min(lengths[document] - start, length) for document, start in pieces]
        assert 0 < sum(sizes) == fill <= length
        seen.update(pieces)
    expected = {
        (document, start)
        for document, size in enumerate(lengths)
        for start in range(0, size, length)
    }
    assert seen == dict.fromkeys(expected, epochs)
    cut = data.draw(st.integers(1, 7))
    _, again = pack(lengths, length, epochs=epochs, window=window, cut=cut)
    assert list(sequences(again)) == list(sequences(packed))


def test_what_fits_nowhere_opens_the_next_window() -> None:
    # Two sequences of 10 a window. The first ends with the 3 by which it has 20 tokens; of its 6s
    # the third fits nowhere and is the first of the next window, where 7 and 2 are left.
    _, packed = pack([6, 6, 6, 3, 2, 7, 3, 9], 10, window=2)
    assert [[document for document, _ in pieces] for pieces, _ in sequences(packed)] == [
        [0, 3],
        [1],
        [2, 6],
        [7],
        [4, 5],
    ]


def test_sequences_of_a_window_are_not_sorted_by_length() -> None:
    generator = np.random.default_rng(3)
    lengths = generator.integers(1, 1000, 20_000).tolist()
    _, packed = pack(lengths, 1000, window=64)
    longest = np.array(
        [max(lengths[document] for document, _ in pieces) for pieces, _ in sequences(packed)]
    )
    whole = longest[: len(longest) // 64 * 64].reshape(-1, 64)
    # In the order of packing the halves of a window would differ by hundreds.
    assert abs(whole[:, :32].mean() - whole[:, 32:].mean()) < 60


def test_few_short_documents_fill_all_but_a_two_hundredth() -> None:
    generator = np.random.default_rng(5)
    length = 8192
    short = generator.integers(16, length // 8, 40_000, endpoint=True)
    long = generator.integers(length // 2, length, 8_000, endpoint=True)
    lengths = generator.permutation(np.concatenate([short, long]))
    assert 0.25 < short.sum() / lengths.sum() < 0.31
    packer, packed = pack(lengths.tolist(), length, window=256)
    fills = np.concatenate([part.fills for part in packed])
    assert fills.sum() == lengths.sum()
    assert fills[:-256].mean() / length > 0.995
    assert packer.histogram.best_fill() >= fills.mean() / length


@pytest.mark.parametrize(
    ("lengths", "least"),
    [
        ([6] * 10, 10),  # no two fit
        ([5] * 10, 5),
        ([4] * 10, 4),  # two a sequence, though tokens alone would say 4
        ([6] * 4 + [4] * 4, 4),
        ([7] * 4 + [4] * 4, 6),  # no 4 fits beside a 7: 2 sequences of their own by their tokens
        ([10], 1),
        ([], 0),
    ],
)
def test_the_bound_of_lengths(lengths: list[int], least: int) -> None:
    histogram = LengthHistogram(10)
    histogram.add(np.array(lengths, np.int64))
    assert histogram.least_sequences() == least
    assert histogram.best_fill() == (sum(lengths) / (10 * least) if least else 1.0)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10_000), st.lists(st.integers(1, 10_000), min_size=1, max_size=40))
def test_no_packing_beats_the_bound(length: int, lengths: list[int]) -> None:
    packer, packed = pack([min(size, length) for size in lengths], length, window=100)
    used = sum(len(part.fills) for part in packed)
    assert packer.histogram.least_sequences() <= used


def test_no_document_of_a_small_corpus_is_last_for_its_length() -> None:
    # All of it is less than a window. No two of them but the 9s fit together, five a sequence.
    lengths = [40, 9, 40, 40, 9] * 25
    _, packed = pack(lengths, 48, window=256)
    short = [i for i, (pieces, _) in enumerate(sequences(packed)) if len(pieces) > 1]
    assert len(short) == 10
    assert sum(i < (75 + 10) / 2 for i in short) == 5
