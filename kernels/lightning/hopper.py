"""The sweep for Hopper (sm_90), in Gluon: Triton with warps and memory laid out by hand.

In Triton's own language all warps of a program do the same thing, so its tensor cores wait while
the state is rounded and stored, and copies wait for both. Here a program is three parts that meet
at barriers in shared memory:

* one warp that does nothing but ask the copy engine (TMA) for the next tiles of a, b and c;
* two groups of four warps, each with the state of 64 value columns in its registers. They share the
  tiles of a and b and do not wait for each other, so one multiplies while the other rounds.

A program reads every tile once. Only bfloat16, head sizes 64 and 128, and tensors that TMA can
address (:func:`fits`); the rest goes to :mod:`.portable`. The interpreter does not run Gluon: this
file is compiled in every test run, and checked against the reference on a GPU.

See :mod:`.sweep` for the equations, and ``docs/kernels.md`` for what was measured on the way here.
"""

from __future__ import annotations

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.lightning.pieces import Pieces

TILE = 64
"""Tokens of a tile: the least rows of a warp group's matrix instruction, and memory bound."""
COLUMNS = 64
"""Value columns of a warp group."""
STAGES = 3
"""Tiles in flight. Two are 15 % slower on an H200; four do not fit."""
CONSUMER_REGISTERS = 240
PRODUCER_REGISTERS = 24
"""Registers a thread: of 65,536, two groups of consumers and one of producers share 504 · 128."""


@gluon.jit
def bounds(piece, table, tokens, segment, per_sequence, PACKED: gl.constexpr):
    """As ``pieces_device.piece_bounds``, in Gluon."""
    if PACKED:
        sequence = gl.load(table + piece * 4)
        start = gl.load(table + piece * 4 + 1)
        stop = gl.load(table + piece * 4 + 2)
        flags = gl.load(table + piece * 4 + 3)
    else:
        sequence = piece // per_sequence
        index = piece % per_sequence
        start = index * segment
        stop = gl.minimum(start + segment, tokens)
        flags = gl.where(index > 0, 1, 0) + gl.where(index + 1 < per_sequence, 2, 0)
    return sequence, start, stop, flags


@gluon.jit
def clear_rows(tile_s, size, C: gl.constexpr, WIDTH: gl.constexpr):
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [256 // WIDTH, WIDTH // 8], [4, 1], [1, 0])
    rows = gl.arange(0, C, layout=gl.SliceLayout(1, layout))
    x = tile_s.load(layout)
    tile_s.store(gl.where(gl.expand_dims(rows, 1) < size, x, gl.zeros_like(x)))


@gluon.jit
def _clear_tile(b, c, size, C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr):
    """Zero the rows of a ragged tile from ``size`` on: they belong to another sequence.

    Both groups write the same bytes to b, and neither reads the rows before it has.
    """
    if size < C:
        clear_rows(b, size, C, K)
        clear_rows(c, size, C, BV)
        fence_async_shared()


@gluon.jit
def _consume(
    GROUP: gl.constexpr, a_s, b_s, c_s, full, empty, state_s, weighted_s, out_s, out_desc,
    out, initial, final, slope, scale, start, stop, row0, out_column, out_t, given,
    i_k, i_v, f_k, f_v,
    C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
    REVERSE: gl.constexpr, INITIAL: gl.constexpr, FINAL: gl.constexpr,
):  # fmt: skip
    """One warp group: the state of ``BV`` value columns, and their outputs."""
    operand: gl.constexpr = a_s.dtype
    of_state: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BV, 16])
    of_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, C, 16])
    of_out: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BV, 16])
    of_left: gl.constexpr = gl.DotOperandLayout(0, of_out, 2)
    i = gl.arange(0, C, layout=gl.SliceLayout(1, of_scores))
    j = gl.arange(0, C, layout=gl.SliceLayout(0, of_scores))
    if REVERSE:
        distance = gl.expand_dims(j, 0) - gl.expand_dims(i, 1)
    else:
        distance = gl.expand_dims(i, 1) - gl.expand_dims(j, 0)
    decay = gl.exp2(-gl.maximum(distance, 0).to(gl.float32) * slope)
    decay = gl.where(distance >= 0, decay * scale, 0.0)
    rows = gl.arange(0, C, layout=gl.SliceLayout(1, of_out))
    columns = gl.arange(0, BV, layout=gl.SliceLayout(0, of_out))
    # λ^C - 1 and not λ^C: a slow decay rounded to float32 is off to the same side at every tile.
    whole_shrink = (gl.exp2(-C * slope.to(gl.float64)) - 1.0).to(gl.float32)
    since_start = gl.exp2(-(rows + 1).to(gl.float32) * slope) * scale
    until_end = gl.exp2(-(C - 1 - rows).to(gl.float32) * slope)
    if REVERSE:
        whole_row = until_end
        whole_column = since_start
    else:
        whole_row = since_start
        whole_column = until_end
    no_scores = gl.zeros([C, C], gl.float32, of_scores)
    no_out = gl.zeros([C, BV], gl.float32, of_out)

    keys = gl.arange(0, K, layout=gl.SliceLayout(1, of_state))
    values = GROUP * BV + gl.arange(0, BV, layout=gl.SliceLayout(0, of_state))
    if INITIAL:
        before = gl.expand_dims(keys, 1) * i_k + gl.expand_dims(values, 0) * i_v
        state = gl.load(initial + before, mask=(gl.expand_dims(keys, 1) < K) & given, other=0.0)
    else:
        state = gl.zeros([K, BV], gl.float32, of_state)

    my_state = state_s.index(GROUP)
    my_weighted = weighted_s.index(GROUP)
    my_out = out_s.index(GROUP)
    tiles = (stop - start + C - 1) // C
    if tiles > 0:
        if REVERSE:
            size = stop - start - (tiles - 1) * C
        else:
            size = gl.minimum(stop - start, C)
        mbarrier.wait(full.index(0), 0)
        _clear_tile(b_s.index(0), c_s.index(GROUP), size, C, K, BV)
    a = a_s.index(0)
    b = b_s.index(0)
    scores = warpgroup_mma(a, b.permute((1, 0)), no_scores, use_acc=False, is_async=True)
    scores = warpgroup_mma_wait(0, deps=(scores,))
    for tile in range(tiles):
        stage = tile % STAGES
        a = a_s.index(stage)
        b = b_s.index(stage)
        c = c_s.index(stage * GROUPS + GROUP)
        if REVERSE:
            first = start + (tiles - 1 - tile) * C
        else:
            first = start + tile * C
        size = gl.minimum(stop - first, C)
        by_row = whole_row
        by_column = whole_column
        shrink = whole_shrink
        if size < C:
            if REVERSE:
                by_row = gl.exp2(-gl.maximum(size - 1 - rows, 0).to(gl.float32) * slope)
            else:
                by_column = gl.exp2(-gl.maximum(size - 1 - rows, 0).to(gl.float32) * slope)
            shrink = gl.exp2(-size.to(gl.float32) * slope) - 1.0

        my_state.store(state.to(operand))
        weighted = c.load(of_out).to(gl.float32) * gl.expand_dims(by_column, 1)
        my_weighted.store(weighted.to(operand))
        left = gl.convert_layout((scores * decay).to(operand), of_left)
        state = state + state * shrink
        fence_async_shared()
        o = warpgroup_mma(a, my_state, no_out, use_acc=False, is_async=True)
        state = warpgroup_mma(b.permute((1, 0)), my_weighted, state, is_async=True)

        # The next tile's scores keep the tensor cores busy while this one's results are rounded.
        # After the last tile they are asked for once more, and not used.
        following = gl.minimum(tile + 1, tiles - 1)
        next_stage = following % STAGES
        mbarrier.wait(full.index(next_stage), (following // STAGES) & 1)
        next_b = b_s.index(next_stage)
        if not REVERSE:  # the ragged tile of a reverse sweep is the first, which is cleared above
            next_size = gl.minimum(stop - start - following * C, C)
            if following > tile:
                _clear_tile(next_b, c_s.index(next_stage * GROUPS + GROUP), next_size, C, K, BV)
        scores = warpgroup_mma(
            a_s.index(next_stage), next_b.permute((1, 0)), no_scores, use_acc=False, is_async=True
        )
        o = warpgroup_mma_wait(2, deps=(o,))
        o = o * gl.expand_dims(by_row, 1)
        o = warpgroup_mma(left, c, o, is_async=True)
        state, scores, o = warpgroup_mma_wait(0, deps=(state, scores, o))
        mbarrier.arrive(empty.index(stage), count=1)
        if size == C:
            tma.store_wait(0)
            my_out.store(o.to(operand))
            fence_async_shared()
            column = out_column + GROUP * BV
            tma.async_copy_shared_to_global(out_desc, [row0 + first, column], my_out)
        else:
            # The copy engine writes whole tiles; these rows would be another sequence's.
            t = (row0 + first + rows).to(gl.int64)
            at = gl.expand_dims(t, 1) * out_t + out_column + GROUP * BV
            gl.store(
                out + at + gl.expand_dims(columns, 0),
                o.to(operand),
                mask=(gl.expand_dims(rows, 1) < size) & (gl.expand_dims(columns, 0) < BV),
            )
    tma.store_wait(0)
    if FINAL:
        behind = gl.expand_dims(keys, 1) * f_k + gl.expand_dims(values, 0) * f_v
        gl.store(final + behind, state)


@gluon.jit
def _consume_first(consumed, produced, C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr,
                   GROUPS: gl.constexpr, STAGES: gl.constexpr, REVERSE: gl.constexpr,
                   INITIAL: gl.constexpr, FINAL: gl.constexpr):  # fmt: skip
    _consume(0, *consumed, C, K, BV, GROUPS, STAGES, REVERSE, INITIAL, FINAL)


@gluon.jit
def _consume_second(consumed, produced, C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr,
                    GROUPS: gl.constexpr, STAGES: gl.constexpr, REVERSE: gl.constexpr,
                    INITIAL: gl.constexpr, FINAL: gl.constexpr):  # fmt: skip
    _consume(1, *consumed, C, K, BV, GROUPS, STAGES, REVERSE, INITIAL, FINAL)


@gluon.jit
def _produce(consumed, produced, C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr,
             GROUPS: gl.constexpr, STAGES: gl.constexpr, REVERSE: gl.constexpr,
             INITIAL: gl.constexpr, FINAL: gl.constexpr):  # fmt: skip
    """One warp: ask for each tile as soon as its place is free."""
    (a_s, b_s, c_s, full, empty, a, b, c, start, stop, row0,
     a_column, b_column, c_column) = produced  # fmt: skip
    tiles = (stop - start + C - 1) // C
    for tile in range(tiles):
        stage = tile % STAGES
        if REVERSE:
            row = row0 + start + (tiles - 1 - tile) * C
        else:
            row = row0 + start + tile * C
        mbarrier.wait(empty.index(stage), ((tile // STAGES) & 1) ^ 1)
        ready = full.index(stage)
        mbarrier.expect(ready, (2 * C * K + C * BV * GROUPS) * 2)
        tma.async_copy_global_to_shared(a, [row, a_column], ready, a_s.index(stage))
        tma.async_copy_global_to_shared(b, [row, b_column], ready, b_s.index(stage))
        for group in gl.static_range(GROUPS):
            place = c_s.index(stage * GROUPS + group)
            tma.async_copy_global_to_shared(c, [row, c_column + group * BV], ready, place)


@gluon.jit
def _sweep(
    a, b, c, out, out_base, slopes, initial, final, table,
    a_h, b_h, c_h, out_t, out_h, i_n, i_h, i_k, i_v, f_n, f_h, f_k, f_v,
    tokens, segment, per_sequence, heads, a_group, b_group, c_group, scale,
    C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
    PACKED: gl.constexpr, REVERSE: gl.constexpr, INITIAL: gl.constexpr, FINAL: gl.constexpr,
    CONSUMER_REGISTERS: gl.constexpr, PRODUCER_REGISTERS: gl.constexpr,
):  # fmt: skip
    """Programs: (piece, head)."""
    program = gl.program_id(0)
    head = program % heads
    piece = program // heads
    sequence, start, stop, flags = bounds(piece, table, tokens, segment, per_sequence, PACKED)
    slope = gl.load(slopes + head) * 1.4426950408889634  # exp(-s n) = exp2(-slope n)
    row0 = 0
    if not PACKED:
        row0 = sequence * tokens
    given = INITIAL == 2
    if REVERSE:
        given = given | ((flags & 2) != 0)
    else:
        given = given | ((flags & 1) != 0)
    head64 = head.to(gl.int64)
    initial += piece.to(gl.int64) * i_n + head64 * i_h
    final += piece.to(gl.int64) * f_n + head64 * f_h

    operand: gl.constexpr = a.dtype
    state_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([K, BV], operand)
    a_s = gl.allocate_shared_memory(operand, [STAGES, C, K], a.layout)
    b_s = gl.allocate_shared_memory(operand, [STAGES, C, K], b.layout)
    c_s = gl.allocate_shared_memory(operand, [STAGES * GROUPS, C, BV], c.layout)
    state_s = gl.allocate_shared_memory(operand, [GROUPS, K, BV], state_layout)
    weighted_s = gl.allocate_shared_memory(operand, [GROUPS, C, BV], c.layout)
    out_s = gl.allocate_shared_memory(operand, [GROUPS, C, BV], out.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=1)
        mbarrier.init(empty.index(stage), count=GROUPS)
    consumed = (
        a_s, b_s, c_s, full, empty, state_s, weighted_s, out_s, out,
        out_base, initial, final, slope, scale, start, stop, row0, head * out_h, out_t, given,
        i_k, i_v, f_k, f_v,
    )  # fmt: skip
    produced = (
        a_s, b_s, c_s, full, empty, a, b, c, start, stop, row0,
        (head // a_group) * a_h, (head // b_group) * b_h, (head // c_group) * c_h,
    )  # fmt: skip
    if GROUPS == 2:
        gl.warp_specialize([
            (_consume_first, (consumed, produced, C, K, BV, GROUPS, STAGES,
                              REVERSE, INITIAL, FINAL)),
            (_consume_second, (consumed, produced, C, K, BV, GROUPS, STAGES,
                               REVERSE, INITIAL, FINAL)),
            (_produce, (consumed, produced, C, K, BV, GROUPS, STAGES,
                        REVERSE, INITIAL, FINAL)),
        ], [4, 1], [CONSUMER_REGISTERS, PRODUCER_REGISTERS])  # fmt: skip
    else:
        gl.warp_specialize([
            (_consume_first, (consumed, produced, C, K, BV, GROUPS, STAGES,
                              REVERSE, INITIAL, FINAL)),
            (_produce, (consumed, produced, C, K, BV, GROUPS, STAGES,
                        REVERSE, INITIAL, FINAL)),
        ], [1], [PRODUCER_REGISTERS])  # fmt: skip
    for stage in gl.static_range(STAGES):
        mbarrier.invalidate(full.index(stage))
        mbarrier.invalidate(empty.index(stage))


def fits(*tensors: torch.Tensor) -> bool:
    """Whether the copy engine can address every one of some ``[B, T, heads, D]`` tensors.

    It sees ``[B·T, columns]``: the rows of a batch must follow each other evenly, and the start and
    the distance of rows and heads must be multiples of 16 bytes.
    """
    for x in tensors:
        batch, tokens, heads, size = x.shape
        b, t, h, one = x.stride()
        if x.dtype != torch.bfloat16 or size not in (64, 128) or one != 1:
            return False
        if batch > 1 and b != tokens * t:
            return False
        if x.data_ptr() % 16 or t % 8 or (heads > 1 and h % 8) or t < (heads - 1) * h + size:
            return False
    return True


def descriptor(x: torch.Tensor, width: int) -> TensorDescriptor:
    """Tiles of TILE rows and ``width`` columns of x seen as ``[B·T, columns]``."""
    batch, tokens, heads, size = x.shape
    layout = gl.NVMMASharedLayout.get_default_for([TILE, width], gl.bfloat16)
    shape = [batch * tokens, (heads - 1) * x.stride(2) + size]
    return TensorDescriptor(x, shape, [x.stride(1), 1], [TILE, width], layout)


def sweep(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    out: torch.Tensor,
    slopes: torch.Tensor,
    pieces: Pieces,
    *,
    reverse: bool,
    scale: float,
    initial: torch.Tensor | None = None,
    every_piece: bool = False,
    final: torch.Tensor | None = None,
) -> None:
    """Launch one sweep; arguments as in :func:`kernels.lightning.sweep.sweep`."""
    layout, heads, key_size = pieces.layout, out.shape[2], a.shape[3]
    grid = (pieces.count * heads,)
    if 0 in grid or (out.numel() == 0 and final is None):
        return
    _sweep[grid](
        descriptor(a, key_size), descriptor(b, key_size), descriptor(c, COLUMNS),
        descriptor(out, COLUMNS), out,
        slopes,
        initial if initial is not None else slopes,
        final if final is not None else slopes,
        pieces.table if pieces.table is not None else slopes,
        a.stride(2), b.stride(2), c.stride(2), out.stride(1), out.stride(2),
        *(initial.stride() if initial is not None else (0, 0, 0, 0)),
        *(final.stride() if final is not None else (0, 0, 0, 0)),
        layout.tokens, pieces.segment, pieces.per_sequence, heads,
        *(heads // x.shape[2] for x in (a, b, c)), scale,
        C=TILE, K=key_size, BV=COLUMNS, GROUPS=c.shape[3] // COLUMNS, STAGES=STAGES,
        PACKED=layout.packed, REVERSE=reverse,
        INITIAL=0 if initial is None else (2 if every_piece else 1), FINAL=final is not None,
        CONSUMER_REGISTERS=CONSUMER_REGISTERS, PRODUCER_REGISTERS=PRODUCER_REGISTERS, num_warps=4,
    )  # fmt: skip
