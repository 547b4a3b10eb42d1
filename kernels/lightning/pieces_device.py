"""The bounds of pieces on the device: the table of a packed row, and what programs read of it."""

from __future__ import annotations

import triton
import triton.language as tl

TABLE_COLUMNS = tl.constexpr(4)
"""int32 columns of a packed row's table: sequence, first token, token behind the last, flags."""
HAS_BEFORE, HAS_AFTER = tl.constexpr(1), tl.constexpr(2)
"""Flags: the sequence has tokens before this piece, and after it."""


@triton.jit
def clamp_boundary(boundary, tokens):
    """int32, brought into 0..tokens: a wrong boundary must not lead out of the tensors."""
    return tl.minimum(tl.maximum(boundary, 0), tokens).to(tl.int32)


@triton.jit
def piece_table(cu, table, sequences, count, tokens, segment, BLOCK: tl.constexpr):
    """Write the table, int32 [count, TABLE_COLUMNS]; ``cu`` int32 or int64 [sequences + 1]."""
    piece = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = piece < count
    low = tl.zeros([BLOCK], dtype=tl.int32)
    high = tl.zeros([BLOCK], dtype=tl.int32) + sequences
    for _ in range(32):  # a binary search for the last sequence that begins at or before the piece
        middle = (low + high) // 2
        open_ = (high - low > 1) & inside
        begin = clamp_boundary(tl.load(cu + middle, mask=open_, other=0), tokens)
        take = open_ & (middle + begin // segment <= piece)
        high = tl.where(open_ & ~take, middle, high)
        low = tl.where(take, middle, low)
    begin = clamp_boundary(tl.load(cu + low, mask=inside, other=0), tokens)
    end = clamp_boundary(tl.load(cu + low + 1, mask=inside, other=0), tokens)
    end = tl.maximum(end, begin)
    first = begin // segment
    index = first + piece - (low + first)
    # Beyond the last token of a row near 2^31 tokens, index * segment must not wrap around.
    start = tl.minimum(tl.maximum(begin.to(tl.int64), index.to(tl.int64) * segment), end)
    stop = tl.maximum(tl.minimum(end.to(tl.int64), (index + 1).to(tl.int64) * segment), start)
    # A flag makes programs index the states at cuts: it is set for no cut beyond the row's.
    before = (start > begin) & (index.to(tl.int64) * segment <= end)
    flags = tl.where(before, HAS_BEFORE, 0) + tl.where(stop < end, HAS_AFTER, 0)
    tl.store(table + piece * TABLE_COLUMNS, low, mask=inside)
    tl.store(table + piece * TABLE_COLUMNS + 1, start.to(tl.int32), mask=inside)
    tl.store(table + piece * TABLE_COLUMNS + 2, stop.to(tl.int32), mask=inside)
    tl.store(table + piece * TABLE_COLUMNS + 3, flags, mask=inside)


@triton.jit
def cut_before(piece, sequence):
    """int64, where HAS_BEFORE: the number of the cut that this piece begins at."""
    return piece.to(tl.int64) - sequence - 1


@triton.jit
def cut_after(piece, sequence):
    """int64, where HAS_AFTER: the number of the cut that this piece ends at."""
    return piece.to(tl.int64) - sequence


@triton.jit
def piece_bounds(piece, table, tokens, segment, per_sequence, PACKED: tl.constexpr):
    """(sequence, first token, token behind the last, flags) of a piece; int32 scalars."""
    if PACKED:
        sequence = tl.load(table + piece * TABLE_COLUMNS)
        start = tl.load(table + piece * TABLE_COLUMNS + 1)
        stop = tl.load(table + piece * TABLE_COLUMNS + 2)
        flags = tl.load(table + piece * TABLE_COLUMNS + 3)
    else:
        sequence = piece // per_sequence
        index = piece % per_sequence
        start = index * segment
        stop = tl.minimum(start + segment, tokens)
        flags = tl.where(index > 0, HAS_BEFORE, 0)
        flags += tl.where(index + 1 < per_sequence, HAS_AFTER, 0)
    return sequence, start, stop, flags
