"""Of equal ids the smallest rank survives, in any memory, order and cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.exact import IdRecords, exact_duplicates, id_words

# Ids that differ in either half only, share a prefix, or are equal.
HALF = st.integers(0, 3) | st.sampled_from([2**63, 2**64 - 1, 1 << 48, (1 << 48) + 1])


@given(
    st.lists(st.tuples(HALF, HALF), max_size=120),
    st.sampled_from([1, 96 * 7, 1 << 20]),
    st.integers(1, 6),
    st.integers(0, 2**32),
)
@settings(max_examples=80, deadline=None)
def test_the_smallest_rank_survives(
    ids: list[tuple[int, int]], memory_bytes: int, cuts: int, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(ids)).astype(np.uint32)
    table = np.array(ids, np.uint64).reshape(-1, 2)

    def runs() -> Iterator[IdRecords]:
        for some in np.array_split(order, cuts):
            yield table[some], some

    found = exact_duplicates(runs, memory_bytes)
    first: dict[tuple[int, int], int] = {}
    expected = []
    for rank, key in enumerate(ids):
        if first.setdefault(key, rank) != rank:
            expected.append((rank, first[key]))
    assert list(zip(found.removed.tolist(), found.survivor.tolist(), strict=True)) == expected


def test_id_words_keep_the_byte_order() -> None:
    raw = [bytes(range(16)), b"\xff" * 16, b"\x00" * 15 + b"\x01", bytes(range(16))]
    array = pa.array(raw, pa.binary(16))
    words = id_words(pa.chunked_array([array.slice(0, 1), array.slice(1, 0), array.slice(1)]))
    assert words.shape == (4, 2)
    assert [int(high) << 64 | int(low) for high, low in words] == [
        int.from_bytes(item, "big") for item in raw
    ]


def test_ids_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="found type fixed_size_binary"):
        id_words(pa.array([b"12345678"], pa.binary(8)))
    with pytest.raises(ValueError, match="found 1 nulls"):
        id_words(pa.array([None, b"0" * 16], pa.binary(16)))
    bad = np.zeros((3, 2), np.uint64), np.zeros(2, np.uint32)
    with pytest.raises(ValueError, match="expected \\(2, 2\\)"):
        exact_duplicates(lambda: [bad])
