"""dv and dk in one reverse sweep, for Hopper, in Gluon.

The two gradients read the same q, k, v and do and need the same state, once as it is and once
transposed. Swept apart they read six tensors through the second-level cache, whose bandwidth is
then what limits them; together they read four. Sizes K = V = 128 only; :mod:`.hopper`, whose design
this shares, sweeps the others apart.

With R the state behind a tile (dS, from the right), for the rows of the tile

    dv = λ^(m-1-j) (k R)  + ((k qᵀ) ⊙ D) do
    dk = λ^(m-1-j) (v Rᵀ) + ((v doᵀ) ⊙ D) q
    R  = λ^m R + qᵀ (λ^(i+1) do)

Everything is done in blocks of 64 x 64. Each of the two warp groups owns the state of 64 value
columns, adds to it, and writes 64 columns of dv and of dk. For dk it needs the other group's part
of the state too: both leave a rounded copy in shared memory at every tile, in turns in one of two
places, so one barrier a tile is enough.
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

from kernels.lightning.hopper import bounds, clear_rows, descriptor
from kernels.lightning.pieces import Pieces

HEAD_SIZE = 128
BLOCK = 64
"""Tokens of a tile, and columns of a block."""
STAGES = 2
CONSUMER_REGISTERS = 240
PRODUCER_REGISTERS = 24


@gluon.jit
def _store(x, block_s, desc, base, row, column, size, stride, C: gl.constexpr):
    """Write a block of outputs: by the copy engine when whole, by its rows when ragged."""
    layout: gl.constexpr = x.type.layout
    if size == C:
        tma.store_wait(0)
        block_s.store(x)
        fence_async_shared()
        tma.async_copy_shared_to_global(desc, [row, column], block_s)
    else:
        rows = gl.arange(0, C, layout=gl.SliceLayout(1, layout))
        columns = gl.arange(0, C, layout=gl.SliceLayout(0, layout))
        at = gl.expand_dims((row + rows).to(gl.int64), 1) * stride + column
        gl.store(base + at + gl.expand_dims(columns, 0), x, mask=gl.expand_dims(rows, 1) < size)


@gluon.jit
def _consume(
    GROUP: gl.constexpr, q_s, k_s, v_s, do_s, full, empty, ready, state_s, weighted_s, out_s,
    dv_desc, dk_desc, dv_base, dk_base, initial, final, slope, scale, start, stop, row0,
    dv_column, dk_column, dv_t, dk_t, given, i_k, i_v, f_k, f_v,
    C: gl.constexpr, STAGES: gl.constexpr, INITIAL: gl.constexpr, FINAL: gl.constexpr,
):  # fmt: skip
    operand: gl.constexpr = q_s.dtype
    block: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, C, 16])
    left_of: gl.constexpr = gl.DotOperandLayout(0, block, 2)
    rows = gl.arange(0, C, layout=gl.SliceLayout(1, block))
    columns = gl.arange(0, C, layout=gl.SliceLayout(0, block))
    distance = gl.expand_dims(columns, 0) - gl.expand_dims(rows, 1)
    decay = gl.exp2(-gl.maximum(distance, 0).to(gl.float32) * slope)
    decay = gl.where(distance >= 0, decay * scale, 0.0)
    whole_row = gl.exp2(-(C - 1 - rows).to(gl.float32) * slope)
    by_column = gl.exp2(-(rows + 1).to(gl.float32) * slope) * scale
    whole_shrink = (gl.exp2(-C * slope.to(gl.float64)) - 1.0).to(gl.float32)
    zero = gl.zeros([C, C], gl.float32, block)

    # The state's rows are keys, in two halves; its columns are this group's 64 values.
    values = gl.expand_dims(GROUP * C + columns, 0) * i_v
    if INITIAL:
        at = initial + gl.expand_dims(rows, 1) * i_k + values
        inside = (gl.expand_dims(rows, 1) < C) & given
        upper = gl.load(at, mask=inside, other=0.0)
        lower = gl.load(at + C * i_k, mask=inside, other=0.0)
    else:
        upper = zero
        lower = zero

    tiles = (stop - start + C - 1) // C
    for tile in range(tiles):
        stage = tile % STAGES
        first = start + (tiles - 1 - tile) * C
        size = gl.minimum(stop - first, C)
        q0 = q_s.index(stage * 2)
        q1 = q_s.index(stage * 2 + 1)
        k0 = k_s.index(stage * 2)
        k1 = k_s.index(stage * 2 + 1)
        v0 = v_s.index(stage * 2)
        v1 = v_s.index(stage * 2 + 1)
        do0 = do_s.index(stage * 2)
        do1 = do_s.index(stage * 2 + 1)
        my_q = q_s.index(stage * 2 + GROUP)
        my_do = do_s.index(stage * 2 + GROUP)
        by_row = whole_row
        shrink = whole_shrink
        mbarrier.wait(full.index(stage), (tile // STAGES) & 1)
        if size < C:
            # These rows belong to another sequence. Both groups write the same zeros.
            clear_rows(q0, size, C, C)
            clear_rows(q1, size, C, C)
            clear_rows(do0, size, C, C)
            clear_rows(do1, size, C, C)
            fence_async_shared()
            by_row = gl.exp2(-gl.maximum(size - 1 - rows, 0).to(gl.float32) * slope)
            shrink = gl.exp2(-size.to(gl.float32) * slope) - 1.0

        scores = warpgroup_mma(k0, q0.permute((1, 0)), zero, use_acc=False, is_async=True)
        scores = warpgroup_mma(k1, q1.permute((1, 0)), scores, is_async=True)
        turn = (tile & 1) * 4
        state_s.index(turn + GROUP * 2).store(upper.to(operand))
        state_s.index(turn + GROUP * 2 + 1).store(lower.to(operand))
        weighted = my_do.load(block).to(gl.float32) * gl.expand_dims(by_column, 1)
        weighted_s.index(GROUP).store(weighted.to(operand))
        upper = upper + upper * shrink
        lower = lower + lower * shrink
        fence_async_shared()
        mbarrier.arrive(ready, count=1)
        scores = warpgroup_mma_wait(0, deps=(scores,))
        for_dv = gl.convert_layout((scores * decay).to(operand), left_of)
        upper = warpgroup_mma(q0.permute((1, 0)), weighted_s.index(GROUP), upper, is_async=True)
        lower = warpgroup_mma(q1.permute((1, 0)), weighted_s.index(GROUP), lower, is_async=True)
        other = warpgroup_mma(v0, do0.permute((1, 0)), zero, use_acc=False, is_async=True)
        other = warpgroup_mma(v1, do1.permute((1, 0)), other, is_async=True)
        mine0 = state_s.index(turn + GROUP * 2)
        mine1 = state_s.index(turn + GROUP * 2 + 1)
        dv = warpgroup_mma(k0, mine0, zero, use_acc=False, is_async=True)
        dv = warpgroup_mma(k1, mine1, dv, is_async=True)
        upper, lower, other = warpgroup_mma_wait(2, deps=(upper, lower, other))
        for_dk = gl.convert_layout((other * decay).to(operand), left_of)
        dv = warpgroup_mma_wait(0, deps=(dv,))
        dv = dv * gl.expand_dims(by_row, 1)

        mbarrier.wait(ready, tile & 1)
        first_values = state_s.index(turn + GROUP).permute((1, 0))
        last_values = state_s.index(turn + 2 + GROUP).permute((1, 0))
        dv = warpgroup_mma(for_dv, my_do, dv, is_async=True)
        dk = warpgroup_mma(v0, first_values, zero, use_acc=False, is_async=True)
        dk = warpgroup_mma(v1, last_values, dk, is_async=True)
        dv = warpgroup_mma_wait(2, deps=(dv,))
        row = row0 + first
        my_out = out_s.index(GROUP)
        _store(dv.to(operand), my_out, dv_desc, dv_base, row, dv_column + GROUP * C, size, dv_t, C)
        dk = warpgroup_mma_wait(0, deps=(dk,))
        dk = dk * gl.expand_dims(by_row, 1)
        dk = warpgroup_mma(for_dk, my_q, dk)
        mbarrier.arrive(empty.index(stage), count=1)
        _store(dk.to(operand), my_out, dk_desc, dk_base, row, dk_column + GROUP * C, size, dk_t, C)
    tma.store_wait(0)
    if FINAL:
        behind = final + gl.expand_dims(rows, 1) * f_k
        behind += gl.expand_dims(GROUP * C + columns, 0) * f_v
        gl.store(behind, upper)
        gl.store(behind + C * f_k, lower)


@gluon.jit
def _consume_first(consumed, produced, C: gl.constexpr, STAGES: gl.constexpr,
                   INITIAL: gl.constexpr, FINAL: gl.constexpr):  # fmt: skip
    _consume(0, *consumed, C, STAGES, INITIAL, FINAL)


@gluon.jit
def _consume_second(consumed, produced, C: gl.constexpr, STAGES: gl.constexpr,
                    INITIAL: gl.constexpr, FINAL: gl.constexpr):  # fmt: skip
    _consume(1, *consumed, C, STAGES, INITIAL, FINAL)


@gluon.jit
def _produce(consumed, produced, C: gl.constexpr, STAGES: gl.constexpr,
             INITIAL: gl.constexpr, FINAL: gl.constexpr):  # fmt: skip
    """One warp: ask for each tile as soon as its place is free."""
    (q_s, k_s, v_s, do_s, full, empty, q, k, v, do, start, stop, row0,
     q_column, k_column, v_column, do_column) = produced  # fmt: skip
    tiles = (stop - start + C - 1) // C
    for tile in range(tiles):
        stage = tile % STAGES
        row = row0 + start + (tiles - 1 - tile) * C
        mbarrier.wait(empty.index(stage), ((tile // STAGES) & 1) ^ 1)
        bar = full.index(stage)
        mbarrier.expect(bar, 8 * C * C * 2)
        for h in gl.static_range(2):
            place = stage * 2 + h
            tma.async_copy_global_to_shared(k, [row, k_column + h * C], bar, k_s.index(place))
            tma.async_copy_global_to_shared(q, [row, q_column + h * C], bar, q_s.index(place))
            tma.async_copy_global_to_shared(v, [row, v_column + h * C], bar, v_s.index(place))
            tma.async_copy_global_to_shared(do, [row, do_column + h * C], bar, do_s.index(place))


@gluon.jit
def _gradients(
    q, k, v, do, dv, dk, dv_base, dk_base, slopes, initial, final, table,
    q_h, k_h, v_h, do_h, dv_t, dv_h, dk_t, dk_h,
    i_n, i_h, i_k, i_v, f_n, f_h, f_k, f_v,
    tokens, segment, per_sequence, heads, group, scale,
    C: gl.constexpr, STAGES: gl.constexpr, PACKED: gl.constexpr,
    INITIAL: gl.constexpr, FINAL: gl.constexpr,
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
    given = (INITIAL == 2) | ((flags & 2) != 0)
    head64 = head.to(gl.int64)
    initial += piece.to(gl.int64) * i_n + head64 * i_h
    final += piece.to(gl.int64) * f_n + head64 * f_h

    operand: gl.constexpr = q.dtype
    q_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    k_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    v_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    do_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    state_s = gl.allocate_shared_memory(operand, [8, C, C], q.layout)
    weighted_s = gl.allocate_shared_memory(operand, [2, C, C], q.layout)
    out_s = gl.allocate_shared_memory(operand, [2, C, C], q.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    ready = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=1)
        mbarrier.init(empty.index(stage), count=2)
    mbarrier.init(ready, count=2)
    consumed = (
        q_s, k_s, v_s, do_s, full, empty, ready, state_s, weighted_s, out_s,
        dv, dk, dv_base, dk_base, initial, final, slope, scale, start, stop, row0,
        head * dv_h, head * dk_h, dv_t, dk_t, given, i_k, i_v, f_k, f_v,
    )  # fmt: skip
    produced = (
        q_s, k_s, v_s, do_s, full, empty, q, k, v, do, start, stop, row0,
        head * q_h, (head // group) * k_h, (head // group) * v_h, head * do_h,
    )  # fmt: skip
    gl.warp_specialize([
        (_consume_first, (consumed, produced, C, STAGES, INITIAL, FINAL)),
        (_consume_second, (consumed, produced, C, STAGES, INITIAL, FINAL)),
        (_produce, (consumed, produced, C, STAGES, INITIAL, FINAL)),
    ], [4, 1], [CONSUMER_REGISTERS, PRODUCER_REGISTERS])  # fmt: skip
    for stage in gl.static_range(STAGES):
        mbarrier.invalidate(full.index(stage))
        mbarrier.invalidate(empty.index(stage))
    mbarrier.invalidate(ready)


def gradients(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    dv: torch.Tensor,
    dk: torch.Tensor,
    slopes: torch.Tensor,
    pieces: Pieces,
    *,
    scale: float,
    initial: torch.Tensor | None = None,
    every_piece: bool = False,
    final: torch.Tensor | None = None,
) -> None:
    """Launch the sweep of ``(k, q, do) -> dv`` and ``(v, do, q) -> dk``; see :mod:`.sweep`."""
    layout, heads = pieces.layout, q.shape[2]
    grid = (pieces.count * heads,)
    if 0 in grid or (dv.numel() == 0 and final is None):
        return
    _gradients[grid](
        *(descriptor(x, BLOCK) for x in (q, k, v, do, dv, dk)), dv, dk,
        slopes,
        initial if initial is not None else slopes,
        final if final is not None else slopes,
        pieces.table if pieces.table is not None else slopes,
        q.stride(2), k.stride(2), v.stride(2), do.stride(2),
        dv.stride(1), dv.stride(2), dk.stride(1), dk.stride(2),
        *(initial.stride() if initial is not None else (0, 0, 0, 0)),
        *(final.stride() if final is not None else (0, 0, 0, 0)),
        layout.tokens, pieces.segment, pieces.per_sequence, heads, heads // k.shape[2], scale,
        C=BLOCK, STAGES=STAGES, PACKED=layout.packed,
        INITIAL=0 if initial is None else (2 if every_piece else 1), FINAL=final is not None,
        CONSUMER_REGISTERS=CONSUMER_REGISTERS, PRODUCER_REGISTERS=PRODUCER_REGISTERS, num_warps=4,
    )  # fmt: skip
