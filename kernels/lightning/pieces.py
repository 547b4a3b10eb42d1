"""How sequences are cut into pieces, each walked by programs of its own.

One program per sequence and head leaves a GPU idle when there are few of them. So long sequences are
cut at multiples of a *segment* of tokens; a cut costs the state at it, which :mod:`.carry` computes
first. Sequences are the rows of a batch, or the documents of one packed row.

A packed row is cut at its boundaries and at the multiples of the segment, counted from the start of
the row. Sequence n then has its first piece at index ``n + cu[n] // segment``; an index that stands
for no tokens (when a boundary is itself a multiple) is an empty piece. So the number of pieces
follows from shapes alone, and no length is copied to the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.triton_support import cdiv

TABLE_COLUMNS = 4
"""int32 columns of the table of a packed row: sequence, first token, token behind the last, flags."""
HAS_BEFORE, HAS_AFTER = 1, 2
"""Flags: the sequence has tokens before this piece, and after it."""

WAVE = 132
"""Programs that run at once on the GPU the heuristic was measured on (H200: 132 multiprocessors)."""
WAVES_WANTED = 4
"""With this many rounds of programs the last, partly filled one costs little."""
SHORTEST_SEGMENT = 1024
"""Tokens. A shorter piece spends more on the states at its ends than on its tokens."""
TILE = 64
"""Tokens. Segments are multiples of the largest tile that a kernel walks them in."""


class Layout(NamedTuple):
    """The shape of a batch: enough to count pieces.

    ``sequences``; ``tokens`` of each (dense) or of all together (packed); ``heads``; ``packed``.
    """

    sequences: int
    tokens: int
    heads: int
    packed: bool


@dataclass(frozen=True)
class Pieces:
    """``count`` pieces of at most ``segment`` tokens; ``table`` int32 [count, 4] for a packed row."""

    layout: Layout
    segment: int
    count: int
    table: torch.Tensor | None

    @property
    def per_sequence(self) -> int:
        """Pieces of each sequence of a dense batch."""
        return max(cdiv(self.layout.tokens, self.segment), 1)

    @property
    def cut(self) -> bool:
        """Whether a sequence may have more than one piece."""
        return self.segment < self.layout.tokens


def choose_segment(layout: Layout) -> int:
    """Tokens of a segment, from shapes alone; longer than any sequence when nothing is to be cut.

    A dense batch is left whole when its programs fill at least nine tenths of the rounds they take.
    Otherwise, and always for a packed row, whose lengths are not known here, segments are as long
    as gives :data:`WAVES_WANTED` rounds.
    """
    sequences, tokens, heads, packed = layout
    whole = max(tokens, 1)
    programs = sequences * heads
    rounds = max(cdiv(programs, WAVE), 1)
    if not packed and programs >= 0.9 * rounds * WAVE:
        return whole
    all_tokens = tokens if packed else sequences * tokens
    wanted = cdiv(all_tokens * heads, WAVE * WAVES_WANTED)
    segment = max(cdiv(wanted, TILE) * TILE, SHORTEST_SEGMENT)
    return segment if segment < whole else whole


def count_pieces(layout: Layout, segment: int) -> int:
    """How many pieces there are, those without tokens counted in."""
    if layout.packed:
        return layout.sequences + (layout.tokens // segment if segment < layout.tokens else 0)
    return layout.sequences * max(cdiv(layout.tokens, segment), 1)


def cut(layout: Layout, segment: int, cu_seqlens: torch.Tensor | None) -> Pieces:
    """The pieces of a batch; for a packed row, one small launch writes their table."""
    count = count_pieces(layout, segment)
    if not layout.packed:
        return Pieces(layout, segment, count, None)
    assert cu_seqlens is not None
    table = torch.empty((count, TABLE_COLUMNS), dtype=torch.int32, device=cu_seqlens.device)
    step = segment if segment < layout.tokens else max(layout.tokens, 1) + 1
    block = 128
    if count:
        _table[(cdiv(count, block),)](
            cu_seqlens, table, layout.sequences, count, step, BLOCK=block, num_warps=4
        )
    return Pieces(layout, segment, count, table)


@triton.jit
def _table(cu, table, sequences, count, segment, BLOCK: tl.constexpr):
    piece = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = piece < count
    low = tl.zeros([BLOCK], dtype=tl.int32)
    high = tl.zeros([BLOCK], dtype=tl.int32) + sequences
    for _ in range(32):  # a binary search for the last sequence that begins at or before the piece
        middle = (low + high) // 2
        open_ = (high - low > 1) & inside
        begin = tl.load(cu + middle, mask=open_, other=0).to(tl.int32)
        take = open_ & (middle + begin // segment <= piece)
        high = tl.where(open_ & ~take, middle, high)
        low = tl.where(take, middle, low)
    begin = tl.load(cu + low, mask=inside, other=0).to(tl.int32)
    end = tl.load(cu + low + 1, mask=inside, other=0).to(tl.int32)
    first = begin // segment
    index = first + piece - (low + first)
    # Beyond the last token of a row near 2^31 tokens, index * segment must not wrap around.
    start = tl.minimum(tl.maximum(begin.to(tl.int64), index.to(tl.int64) * segment), end)
    stop = tl.maximum(tl.minimum(end.to(tl.int64), (index + 1).to(tl.int64) * segment), start)
    flags = tl.where(start > begin, 1, 0) + tl.where(stop < end, 2, 0)
    tl.store(table + piece * 4, low, mask=inside)
    tl.store(table + piece * 4 + 1, start.to(tl.int32), mask=inside)
    tl.store(table + piece * 4 + 2, stop.to(tl.int32), mask=inside)
    tl.store(table + piece * 4 + 3, flags, mask=inside)


@triton.jit
def piece_bounds(piece, table, tokens, segment, per_sequence, PACKED: tl.constexpr):
    """(sequence, first token, token behind the last, flags) of a piece; int32 scalars."""
    if PACKED:
        sequence = tl.load(table + piece * 4)
        start = tl.load(table + piece * 4 + 1)
        stop = tl.load(table + piece * 4 + 2)
        flags = tl.load(table + piece * 4 + 3)
    else:
        sequence = piece // per_sequence
        index = piece % per_sequence
        start = index * segment
        stop = tl.minimum(start + segment, tokens)
        flags = tl.where(index > 0, 1, 0) + tl.where(index + 1 < per_sequence, 2, 0)
    return sequence, start, stop, flags
