"""How sequences are cut into pieces, each walked by programs of its own.

One program per sequence and head leaves a GPU idle when there are few of them. So long sequences
are cut at multiples of a *segment* of tokens; a cut costs the state at it, which :mod:`.carry`
computes first. Sequences are the rows of a batch, or the documents of one packed row.

A packed row is cut at its boundaries and at the multiples of the segment, counted from the start of
the row. Sequence n then has its first piece at index ``n + cu[n] // segment``; an index that stands
for no tokens (when a boundary is itself a multiple) is an empty piece. So the number of pieces
follows from shapes alone, and no length is copied to the host.

A *cut* lies between two pieces of one sequence. Behind a piece it is numbered ``piece - sequence``,
in a batch as in a packed row, where cut m so lies before token ``(m + 1) * segment``. States are
kept for cuts, not for pieces: however many documents a row has, there are ``T // segment`` of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from kernels.triton_support import cdiv

WAVE = 132
"""Programs that run at once on the GPU the choice was measured on (H200: 132 multiprocessors)."""
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
    """``count`` pieces of at most ``segment`` tokens; a packed row has an int32 ``table``."""

    layout: Layout
    segment: int
    count: int
    table: torch.Tensor | None

    @property
    def per_sequence(self) -> int:
        """Pieces of each sequence of a dense batch."""
        return max(cdiv(self.layout.tokens, self.segment), 1)

    @property
    def cuts(self) -> int:
        """Cuts there are, in a packed row also those on its boundaries."""
        return self.count - self.layout.sequences

    @property
    def cut(self) -> bool:
        """Whether a sequence may have more than one piece."""
        return self.segment < self.layout.tokens


def choose_segment(layout: Layout) -> int:
    """Tokens of a segment, from shapes alone; longer than any sequence when nothing is to be cut.

    A dense batch is left whole when its programs fill at least nine tenths of the rounds they take.
    Otherwise its sequences are cut evenly, into pieces that fill as few rounds as can be: pieces
    are equal, so one round is as good as many, and there are fewer cuts. The lengths in a packed
    row are not known here; its segments are as long as gives :data:`WAVES_WANTED` rounds.
    """
    sequences, tokens, heads, packed = layout
    whole = max(tokens, 1)
    programs = sequences * heads
    if packed:
        segment = cdiv(tokens * heads, WAVE * WAVES_WANTED)
    else:
        segment = cdiv(tokens, even_pieces(programs))
    segment = max(cdiv(segment, TILE) * TILE, SHORTEST_SEGMENT)
    return segment if segment < whole else whole


def even_pieces(programs: int) -> int:
    """Into how many equal pieces each of ``programs`` walks is cut to fill the GPU: 1 for none."""
    best, pieces = 0.0, 1
    programs = max(programs, 1)
    for rounds in range(1, WAVES_WANTED + 1):
        fitting = max(WAVE * rounds // programs, 1)
        filled = fitting * programs / (cdiv(fitting * programs, WAVE) * WAVE)
        if filled >= 0.9:
            return fitting
        if filled > best:
            best, pieces = filled, fitting
    return pieces


def count_pieces(layout: Layout, segment: int) -> int:
    """How many pieces there are, those without tokens counted in."""
    if layout.packed:
        return layout.sequences + (layout.tokens // segment if segment < layout.tokens else 0)
    return layout.sequences * max(cdiv(layout.tokens, segment), 1)


def cut(layout: Layout, segment: int, cu_seqlens: torch.Tensor | None) -> Pieces:
    """The pieces of a batch in segments of ``segment`` tokens; a packed row's take one launch.

    ``cu_seqlens``: contiguous int32 or int64 ``[N + 1]`` of a packed row, else None.
    """
    count = count_pieces(layout, segment)
    if not layout.packed:
        return Pieces(layout, segment, count, None)
    assert cu_seqlens is not None
    from kernels.lightning.pieces_device import TABLE_COLUMNS, piece_table

    table = torch.empty((count, TABLE_COLUMNS.value), dtype=torch.int32, device=cu_seqlens.device)
    step = segment if segment < layout.tokens else max(layout.tokens, 1) + 1
    block = 128
    if count:
        piece_table[(cdiv(count, block),)](
            cu_seqlens,
            table,
            layout.sequences,
            count,
            layout.tokens,
            step,
            BLOCK=block,
            num_warps=4,
        )
    return Pieces(layout, segment, count, table)
