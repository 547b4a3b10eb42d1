"""Best fit, compiled and as the definition reads."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.packing import NOWHERE, best_fit, best_fit_plainly


def packed(sizes: list[int], bins: int, room: int) -> list[int]:
    placed = np.full(len(sizes), 99, np.int32)
    best_fit(np.array(sizes, np.int64), bins, room, placed)
    return placed.tolist()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_compiled_packing_is_the_plain_one(data: st.DataObject) -> None:
    room = data.draw(st.sampled_from([1, 2, 7, 64, 1 << 31]))
    bins = data.draw(st.integers(1, 9))
    sizes = data.draw(st.lists(st.integers(1, room), max_size=60))
    plain = best_fit_plainly(np.array(sizes, np.int64), bins, room)
    assert packed(sizes, bins, room) == plain.tolist()


def test_an_item_goes_where_the_least_room_is_left() -> None:
    # 6 and 5 open bins of 10 that 3 fits into: the one with 4 left is taken, not that with 5.
    assert packed([6, 5, 3, 5, 1, 9, 10], 2, 10) == [0, 1, 0, 1, 0, NOWHERE, NOWHERE]
