"""How sequences are cut, against a plain model: a token's piece by its document and segment."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lightning import pieces
from kernels.lightning.pieces import Layout, choose_segment, count_pieces, cut
from kernels.lightning.pieces_device import piece_bounds
from kernels.triton_support import cdiv
from tests.kernels.tensors.attention_cases import DEVICE

BEFORE, AFTER = 1, 2


def model(lengths: list[int], segment: int) -> dict[int, tuple[int, int, int, int]]:
    """(document, first token, token behind the last, flags) of each piece that has tokens.

    Token t of document n lies in piece ``n + t // segment``.
    """
    rows: dict[int, tuple[int, int, int, int]] = {}
    for n, (start, end) in enumerate(pairwise([0, *accumulate(lengths)])):
        for t in range(start, end):
            index = n + t // segment
            first = rows[index][1] if index in rows else t
            flags = BEFORE * (first > start) + AFTER * (t + 1 < end)
            rows[index] = (n, first, t + 1, flags)
    return rows


def table(lengths: list[int], segment: int, dtype: torch.dtype = torch.int32) -> list[list[int]]:
    boundaries = torch.tensor([0, *accumulate(lengths)], dtype=dtype, device=DEVICE)
    found = cut(Layout(len(lengths), sum(lengths), 1, True), segment, boundaries)
    assert found.table is not None
    assert found.table.shape == (found.count, 4)
    rows: list[list[int]] = found.table.tolist()
    return rows


def cuts(rows: list[list[int]]) -> tuple[list[int], list[int]]:
    """The cuts that pieces begin at, and those that they end at, where their flags say so."""
    before = [n - row[0] - 1 for n, row in enumerate(rows) if row[3] & BEFORE]
    after = [n - row[0] for n, row in enumerate(rows) if row[3] & AFTER]
    return before, after


def check(lengths: list[int], segment: int, dtype: torch.dtype) -> None:
    step = segment if segment < sum(lengths) else sum(lengths) + 1  # one segment cuts nothing
    expected = model(lengths, step)
    rows = table(lengths, segment, dtype)
    assert len(rows) == count_pieces(Layout(len(lengths), sum(lengths), 1, True), segment)
    assert {n: tuple(row) for n, row in enumerate(rows) if row[1] < row[2]} == expected
    before, after = cuts(rows)
    ends = [0, *accumulate(lengths)]
    places = range(step, ends[-1] + 1, step)
    for found in (before, after):
        assert len(set(found)) == len(found)
        assert set(found) <= set(range(len(places)))
    within = [any(a < t < b for a, b in pairwise(ends)) for t in places]
    assert after == [m for m, inside in enumerate(within) if inside]
    assert set(after) <= set(before)  # these also have empty pieces begin at them
    documents = [row[0] for row in rows]
    assert documents == sorted(documents)
    assert set(documents) == set(range(len(lengths)))  # empty ones too: their state is handed on
    for n, (start, end) in enumerate(pairwise([0, *accumulate(lengths)])):
        mine = [row[1:] for row in rows if row[0] == n]
        assert [a for a, _, _ in mine[1:]] == [b for _, b, _ in mine[:-1]]
        assert (mine[0][0], mine[-1][1]) == (start, end)
        assert all(a <= b for a, b, _ in mine)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 40) | st.sampled_from([0, 0, 16, 32]), min_size=1, max_size=12),
    st.sampled_from([1, 7, 16, 32, 1000]),
    st.sampled_from([torch.int32, torch.int64]),
)
def test_the_table_is_the_model(lengths: list[int], segment: int, dtype: torch.dtype) -> None:
    check(lengths, segment, dtype)


@pytest.mark.parametrize(
    "lengths",
    [[0], [16], [0, 16, 16, 0, 16], [5, 11, 16, 1], [48], [1] * 150, [0] * 20 + [33] + [0] * 20],
)
def test_boundaries_at_cuts(lengths: list[int]) -> None:
    check(lengths, 16, torch.int32)


def test_a_row_of_two_billion_tokens() -> None:
    last = 2**31 - 1
    boundaries = torch.tensor([0, 2**30, last], device=DEVICE)
    found = cut(Layout(2, last, 1, True), 2**30 + 64, boundaries)
    assert found.table is not None
    assert found.table.tolist() == [
        [0, 0, 2**30, 0],
        [1, 2**30, 2**30 + 64, AFTER],
        [1, 2**30 + 64, last, BEFORE],
    ]


@pytest.mark.parametrize(
    "ends",
    [
        [0, 90, 40],
        [0, 30, 10, 40],
        [-50, 20, 40],
        [3, 5, 7],
        [2**40, -(2**40), 0],
        [0, 3, 0, 40, 5],
    ],
)
def test_boundaries_that_are_wrong_stay_inside_the_tensors(ends: list[int]) -> None:
    """On a GPU they are not seen before the launch."""
    layout = Layout(len(ends) - 1, 40, 1, True)
    found = cut(layout, 16, torch.tensor(ends, device=DEVICE))
    assert found.table is not None
    rows = found.table.tolist()
    for document, start, stop, _ in rows:
        assert 0 <= document < layout.sequences
        assert 0 <= start <= stop <= 40
    for before_or_after in cuts(rows):
        assert set(before_or_after) <= set(range(found.cuts))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(0, 1 << 20), st.sampled_from([1, 8, 64]), st.booleans())
def test_pieces_cover_a_batch(sequences: int, tokens: int, heads: int, packed: bool) -> None:
    layout = Layout(max(sequences, 1) if packed else sequences, tokens, heads, packed)
    segment = choose_segment(layout)
    assert 1 <= segment <= max(tokens, 1)
    count = count_pieces(layout, segment)
    if segment < tokens:
        assert segment % pieces.TILE == 0
        assert segment >= pieces.SHORTEST_SEGMENT
    if not packed:
        found = cut(layout, segment, None)
        assert found.per_sequence == max(cdiv(tokens, segment), 1)
        assert found.count == count == sequences * found.per_sequence
        assert found.cut == (found.per_sequence > 1)
        assert found.cuts == sequences * (found.per_sequence - 1)
        assert found.table is None
    else:
        assert count <= layout.sequences + tokens // pieces.SHORTEST_SEGMENT
        assert count - layout.sequences == (tokens // segment if segment < tokens else 0)


def filled(programs: int) -> float:
    """Share of the GPU that is busy when this many equal programs run in rounds."""
    return programs / (cdiv(programs, pieces.WAVE) * pieces.WAVE)


@pytest.mark.parametrize(
    ("layout", "each"),
    [
        (Layout(8, 8192, 64, False), 1),  # 512 programs fill 0.97 of four rounds
        (Layout(64, 1024, 64, False), 1),
        (Layout(1, 65536, 64, False), 2),  # 64 programs fill half a round, 128 one
        (Layout(1, 1 << 20, 8, False), 16),
        (Layout(1, 1 << 20, 1, False), 132),
        (Layout(1, 1024, 1, False), 1),  # as short as a segment
        (Layout(1, 2048, 1, False), 2),
        (Layout(2, 65536, 40, False), 3),  # 80 programs: one round would be 0.61 full
    ],
)
def test_a_batch_is_cut_evenly_to_fill_as_few_rounds_as_can_be(layout: Layout, each: int) -> None:
    segment = choose_segment(layout)
    found = cut(layout, segment, None)
    assert found.per_sequence == each
    if segment > pieces.SHORTEST_SEGMENT:
        assert filled(layout.sequences * layout.heads * each) >= 0.9
    assert layout.tokens - (each - 1) * segment > segment - pieces.TILE * each  # nearly equal


@pytest.mark.parametrize(
    ("layout", "is_cut"),
    [
        (Layout(500, 65536, 64, True), True),  # its lengths are not known here
        (Layout(1, 1 << 20, 8, True), True),
        (Layout(3, 1024, 8, True), False),
    ],
)
def test_a_packed_row_is_cut_by_its_work(layout: Layout, is_cut: bool) -> None:
    segment = choose_segment(layout)
    assert (segment < layout.tokens) == is_cut
    if is_cut:
        rounds = layout.tokens * layout.heads / segment / pieces.WAVE
        assert 0.9 * pieces.WAVES_WANTED < rounds <= pieces.WAVES_WANTED


@triton.jit
def show(out, tokens, segment, per_sequence):  # type: ignore[no-untyped-def]
    piece = tl.program_id(0)
    sequence, start, stop, flags = piece_bounds(piece, out, tokens, segment, per_sequence, False)
    tl.store(out + piece * 4, sequence)
    tl.store(out + piece * 4 + 1, start)
    tl.store(out + piece * 4 + 2, stop)
    tl.store(out + piece * 4 + 3, flags)


def test_a_program_finds_its_bounds_by_itself_in_a_batch() -> None:
    """A dense batch has no table: what programs compute is the same as a packed row's."""
    found: Any = cut(Layout(2, 40, 1, False), 16, None)
    out = torch.empty(found.count, 4, dtype=torch.int32, device=DEVICE)

    show[(found.count,)](out, 40, 16, found.per_sequence)
    of_each = [[0, 16, AFTER], [16, 32, BEFORE + AFTER], [32, 40, BEFORE]]
    assert out.tolist() == [[n, *bounds] for n in range(2) for bounds in of_each]
