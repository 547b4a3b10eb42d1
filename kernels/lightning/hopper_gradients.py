"""dv and dk in one reverse sweep, for Hopper, in Gluon.

The two gradients read the same q, k, v and do and need the same state, once as it is and once
transposed. Swept apart they read six tensors through the second-level cache, whose bandwidth is
then what limits them; together they read four. Sizes K = V = 128 only; :mod:`.hopper`, whose design
this shares, sweeps the others apart.

With T the state behind a tile (dS, from the right), multiplied by a power of λ, and
``do'_i = scale λ^{i-m} do_i`` (:mod:`.hopper_device`), for the rows j of a tile of n tokens

    T = λ^n T
    dv = λ^{m-j} (k T  + M (k qᵀ) do')
    dk = λ^{m-j} (v Tᵀ + M (v do'ᵀ) q)          M: of the products with i >= j only
    T = T + qᵀ do'

Everything is done in blocks of 64 x 64. Each of the two warp groups owns the state of 64 value
columns, adds to it, and writes 64 columns of dv and of dk. For dk it needs the other group's part
of the state too: both leave a rounded copy in shared memory at every tile, in turns in one of two
places, so one barrier a tile is enough.

With SiLU, q, k and v are what it is applied to, and dk and dv are multiplied by its derivative, for
which a block of k and of v is read once more, from the second-level cache, into the place where the
block of results is left for the copy engine.
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

from kernels.lightning.hopper import descriptor
from kernels.lightning.hopper_device import (
    PREPARERS,
    REACH,
    activate,
    bits_per_token,
    bounds,
    clear_rows,
    middle,
    silu_derivative,
    split_power,
    step_of,
    weigh,
)
from kernels.lightning.pieces import Pieces

HEAD_SIZE = 128
BLOCK = 64
"""Tokens of a tile, and columns of a block."""
STAGES = 2
CONSUMER_REGISTERS = 216
PREPARER_REGISTERS = 56
PRODUCER_REGISTERS = 24


@gluon.jit
def _store(x, block_s, desc, base, row, column, size, stride, C: gl.constexpr, FREE: gl.constexpr):
    """Write a block of outputs: by the copy engine when whole, by its rows when ragged.

    FREE: nothing is left in its place for the copy engine to read.
    """
    layout: gl.constexpr = x.type.layout
    if size == C:
        if not FREE:
            tma.store_wait(1)
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
    GROUP: gl.constexpr, q_s, k_s, v_s, do_s, ready, empty, exchanged, arrived, state_s, out_s,
    k_desc, v_desc, dv_desc, dk_desc, dv_base, dk_base, initial, final, bits, step, scale, start,
    stop, row0, k_column, v_column, dv_column, dk_column, dv_t, dk_t, given, i_k, i_v, f_k, f_v,
    C: gl.constexpr, STAGES: gl.constexpr, INITIAL: gl.constexpr, FINAL: gl.constexpr,
    SILU: gl.constexpr,
):  # fmt: skip
    operand: gl.constexpr = q_s.dtype
    block: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, C, 16])
    left_of: gl.constexpr = gl.DotOperandLayout(0, block, 2)
    rows = gl.arange(0, C, layout=gl.SliceLayout(1, block))
    columns = gl.arange(0, C, layout=gl.SliceLayout(0, block))
    # As a factor: ptxas serializes the matrix instructions around a select (Triton 3.6 and 3.7).
    mask = gl.where(gl.expand_dims(rows, 1) <= gl.expand_dims(columns, 0), 1.0, 0.0).to(operand)
    m = middle(step)
    by_row = gl.exp2((rows - m).to(gl.float32) * bits)
    whole_keep, whole_change = split_power(gl.exp2(-step * bits.to(gl.float64)))
    zero = gl.zeros([C, C], gl.float32, block)
    tiles = (stop - start + step - 1) // step

    # The state's rows are keys, in two halves; its columns are this group's 64 values.
    values = gl.expand_dims(GROUP * C + columns, 0) * i_v
    if INITIAL:
        at = initial + gl.expand_dims(rows, 1) * i_k + values
        inside = (gl.expand_dims(rows, 1) < C) & given
        enter = gl.where(tiles > 0, gl.exp2((m + 1).to(gl.float32) * bits), 1.0)
        upper = gl.load(at, mask=inside, other=0.0) * enter
        lower = gl.load(at + C * i_k, mask=inside, other=0.0) * enter
    else:
        upper = zero
        lower = zero

    for tile in range(tiles):
        stage = tile % STAGES
        first = start + (tiles - 1 - tile) * step
        size = gl.minimum(stop - first, step)
        row = row0 + first
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
        dv_s = out_s.index(GROUP * 2)
        dk_s = out_s.index(GROUP * 2 + 1)
        keep = whole_keep
        change = whole_change
        if size < step:
            keep, change = split_power(gl.exp2(-size * bits.to(gl.float64)))

        mbarrier.wait(ready.index(stage), (tile // STAGES) & 1)
        scores = warpgroup_mma(k0, q0.permute((1, 0)), zero, use_acc=False, is_async=True)
        scores = warpgroup_mma(k1, q1.permute((1, 0)), scores, is_async=True)
        other = warpgroup_mma(v0, do0.permute((1, 0)), zero, use_acc=False, is_async=True)
        other = warpgroup_mma(v1, do1.permute((1, 0)), other, is_async=True)
        turn = (tile & 1) * 4
        upper = upper * keep + upper * change
        lower = lower * keep + lower * change
        mine0 = state_s.index(turn + GROUP * 2)
        mine1 = state_s.index(turn + GROUP * 2 + 1)
        mine0.store(upper.to(operand))
        mine1.store(lower.to(operand))
        fence_async_shared()
        mbarrier.arrive(exchanged, count=1)
        if SILU:
            tma.store_wait(0)
            bar = arrived.index(GROUP)
            mbarrier.expect(bar, 2 * C * C * 2)
            tma.async_copy_global_to_shared(v_desc, [row, v_column + GROUP * C], bar, dv_s)
            tma.async_copy_global_to_shared(k_desc, [row, k_column + GROUP * C], bar, dk_s)
        dv = warpgroup_mma(k0, mine0, zero, use_acc=False, is_async=True)
        dv = warpgroup_mma(k1, mine1, dv, is_async=True)
        scores = warpgroup_mma_wait(4, deps=(scores,))
        for_dv = gl.convert_layout(scores.to(operand) * mask, left_of)
        other = warpgroup_mma_wait(2, deps=(other,))
        for_dk = gl.convert_layout(other.to(operand) * mask, left_of)
        dv = warpgroup_mma(for_dv, my_do, dv, is_async=True)
        dk = warpgroup_mma(for_dk, my_q, zero, use_acc=False, is_async=True)
        mbarrier.wait(exchanged, tile & 1)
        first_values = state_s.index(turn + GROUP).permute((1, 0))
        last_values = state_s.index(turn + 2 + GROUP).permute((1, 0))
        dk = warpgroup_mma(v0, first_values, dk, is_async=True)
        dk = warpgroup_mma(v1, last_values, dk, is_async=True)
        upper = warpgroup_mma(q0.permute((1, 0)), my_do, upper, is_async=True)
        lower = warpgroup_mma(q1.permute((1, 0)), my_do, lower, is_async=True)

        dv = warpgroup_mma_wait(5, deps=(dv,))
        dv = dv * gl.expand_dims(by_row, 1)
        if SILU:
            mbarrier.wait(arrived.index(GROUP), tile & 1)
            dv = dv * silu_derivative(dv_s.load(block).to(gl.float32))
        _store(dv.to(operand), dv_s, dv_desc, dv_base, row, dv_column + GROUP * C, size, dv_t,
               C, SILU)  # fmt: skip
        dk = warpgroup_mma_wait(2, deps=(dk,))
        dk = dk * gl.expand_dims(by_row, 1)
        if SILU:
            dk = dk * silu_derivative(dk_s.load(block).to(gl.float32))
        _store(dk.to(operand), dk_s, dk_desc, dk_base, row, dk_column + GROUP * C, size, dk_t,
               C, SILU)  # fmt: skip
        upper, lower = warpgroup_mma_wait(0, deps=(upper, lower))
        mbarrier.arrive(empty.index(stage), count=1)
    tma.store_wait(0)
    if FINAL:
        behind = final + gl.expand_dims(rows, 1) * f_k
        behind += gl.expand_dims(GROUP * C + columns, 0) * f_v
        leave = gl.where(tiles > 0, gl.exp2(-(m + 1).to(gl.float32) * bits), 1.0)
        gl.store(behind, upper * leave)
        gl.store(behind + C * f_k, lower * leave)


@gluon.jit
def _consume_first(consumed, prepared, produced, C: gl.constexpr, STAGES: gl.constexpr,
                   INITIAL: gl.constexpr, FINAL: gl.constexpr, SILU: gl.constexpr,
                   REACH: gl.constexpr):  # fmt: skip
    _consume(0, *consumed, C, STAGES, INITIAL, FINAL, SILU)


@gluon.jit
def _consume_second(consumed, prepared, produced, C: gl.constexpr, STAGES: gl.constexpr,
                    INITIAL: gl.constexpr, FINAL: gl.constexpr, SILU: gl.constexpr,
                    REACH: gl.constexpr):  # fmt: skip
    _consume(1, *consumed, C, STAGES, INITIAL, FINAL, SILU)


@gluon.jit
def _prepare(consumed, prepared, produced, C: gl.constexpr, STAGES: gl.constexpr,
             INITIAL: gl.constexpr, FINAL: gl.constexpr, SILU: gl.constexpr,
             REACH: gl.constexpr):  # fmt: skip
    """One warp group: make each tile ready where it lies."""
    q_s, k_s, v_s, do_s, full, ready, bits, step, scale, start, stop = prepared
    m = middle(step)
    # Known only at run time, so that the loops over blocks stay loops.
    two = gl.where(step > 0, 2, 0)
    tiles = (stop - start + step - 1) // step
    for tile in range(tiles):
        stage = tile % STAGES
        size = gl.minimum(stop - start - (tiles - 1 - tile) * step, step)
        phase = (tile // STAGES) & 1
        mbarrier.wait(full.index(stage * 4), phase)
        if size < C:
            clear_rows(do_s, stage * 2, two, size, C)
        weigh(do_s, stage * 2, two, m, -bits, scale, C, False, REACH)
        mbarrier.wait(full.index(stage * 4 + 1), phase)
        if size < C:
            clear_rows(q_s, stage * 2, two, size, C)
        if SILU:
            activate(q_s, stage * 2, two)
        mbarrier.wait(full.index(stage * 4 + 2), phase)
        if SILU:
            activate(k_s, stage * 2, two)
        mbarrier.wait(full.index(stage * 4 + 3), phase)
        if SILU:
            activate(v_s, stage * 2, two)
        fence_async_shared()
        mbarrier.arrive(ready.index(stage), count=1)


@gluon.jit
def _produce(consumed, prepared, produced, C: gl.constexpr, STAGES: gl.constexpr,
             INITIAL: gl.constexpr, FINAL: gl.constexpr, SILU: gl.constexpr,
             REACH: gl.constexpr):  # fmt: skip
    """One warp: ask for each tile as soon as its place is free."""
    (q_s, k_s, v_s, do_s, full, empty, q, k, v, do, start, stop, step, row0,
     q_column, k_column, v_column, do_column) = produced  # fmt: skip
    tiles = (stop - start + step - 1) // step
    for tile in range(tiles):
        stage = tile % STAGES
        row = row0 + start + (tiles - 1 - tile) * step
        mbarrier.wait(empty.index(stage), ((tile // STAGES) & 1) ^ 1)
        for tensor in gl.static_range(4):
            mbarrier.expect(full.index(stage * 4 + tensor), 2 * C * C * 2)
            bar = full.index(stage * 4 + tensor)
            for h in gl.static_range(2):
                place = stage * 2 + h
                column = h * C
                if tensor == 0:
                    at = [row, do_column + column]
                    tma.async_copy_global_to_shared(do, at, bar, do_s.index(place))
                elif tensor == 1:
                    at = [row, q_column + column]
                    tma.async_copy_global_to_shared(q, at, bar, q_s.index(place))
                elif tensor == 2:
                    at = [row, k_column + column]
                    tma.async_copy_global_to_shared(k, at, bar, k_s.index(place))
                else:
                    at = [row, v_column + column]
                    tma.async_copy_global_to_shared(v, at, bar, v_s.index(place))


@gluon.jit
def _gradients(
    q, k, v, do, dv, dk, dv_base, dk_base, slopes, initial, carried, final, table,
    q_h, k_h, v_h, do_h, dv_t, dv_h, dk_t, dk_h,
    i_n, i_h, i_k, i_v, s_n, s_h, s_k, s_v, f_n, f_h, f_k, f_v,
    tokens, segment, per_sequence, heads, group, scale,
    C: gl.constexpr, STAGES: gl.constexpr, REACH: gl.constexpr, PACKED: gl.constexpr,
    INITIAL: gl.constexpr, CARRIED: gl.constexpr, FINAL: gl.constexpr, SILU: gl.constexpr,
    CONSUMER_REGISTERS: gl.constexpr, PREPARER_REGISTERS: gl.constexpr,
    PRODUCER_REGISTERS: gl.constexpr,
):  # fmt: skip
    """Programs: (piece, head)."""
    program = gl.program_id(0)
    head = program % heads
    piece = program // heads
    sequence, start, stop, flags = bounds(piece, table, tokens, segment, per_sequence, PACKED)
    bits = bits_per_token(gl.load(slopes + head))
    step = step_of(bits, C, REACH)
    row0 = 0
    if not PACKED:
        row0 = sequence * tokens
    head64 = head.to(gl.int64)
    given = True
    if INITIAL:
        initial += sequence.to(gl.int64) * i_n + head64 * i_h
    if CARRIED:
        has = (flags & 2) != 0
        carried += (piece - sequence).to(gl.int64) * s_n + head64 * s_h
        if INITIAL:
            initial = gl.where(has, carried, initial)
            i_k = gl.where(has, s_k, i_k)
            i_v = gl.where(has, s_v, i_v)
        else:
            given = has
            initial = carried
            i_k = s_k
            i_v = s_v
    final += piece.to(gl.int64) * f_n + head64 * f_h

    STATE: gl.constexpr = INITIAL or CARRIED
    operand: gl.constexpr = q.dtype
    q_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    k_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    v_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    do_s = gl.allocate_shared_memory(operand, [STAGES * 2, C, C], q.layout)
    state_s = gl.allocate_shared_memory(operand, [8, C, C], q.layout)
    out_s = gl.allocate_shared_memory(operand, [4, C, C], q.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES * 4, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    exchanged = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    arrived = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        for tensor in gl.static_range(4):
            mbarrier.init(full.index(stage * 4 + tensor), count=1)
        mbarrier.init(ready.index(stage), count=1)
        mbarrier.init(empty.index(stage), count=2)
    mbarrier.init(exchanged, count=2)
    mbarrier.init(arrived.index(0), count=1)
    mbarrier.init(arrived.index(1), count=1)
    consumed = (
        q_s, k_s, v_s, do_s, ready, empty, exchanged, arrived, state_s, out_s, k, v,
        dv, dk, dv_base, dk_base, initial, final, bits, step, scale, start, stop, row0,
        (head // group) * k_h, (head // group) * v_h, head * dv_h, head * dk_h, dv_t, dk_t, given,
        i_k, i_v, f_k, f_v,
    )  # fmt: skip
    prepared = (q_s, k_s, v_s, do_s, full, ready, bits, step, scale, start, stop)
    produced = (
        q_s, k_s, v_s, do_s, full, empty, q, k, v, do, start, stop, step, row0,
        head * q_h, (head // group) * k_h, (head // group) * v_h, head * do_h,
    )  # fmt: skip
    gl.warp_specialize([
        (_consume_first, (consumed, prepared, produced, C, STAGES, STATE, FINAL, SILU, REACH)),
        (_consume_second, (consumed, prepared, produced, C, STAGES, STATE, FINAL, SILU, REACH)),
        (_prepare, (consumed, prepared, produced, C, STAGES, STATE, FINAL, SILU, REACH)),
        (_produce, (consumed, prepared, produced, C, STAGES, STATE, FINAL, SILU, REACH)),
    ], [4, PREPARERS, 1], [CONSUMER_REGISTERS, PREPARER_REGISTERS, PRODUCER_REGISTERS])  # fmt: skip
    for stage in gl.static_range(STAGES):
        for tensor in gl.static_range(4):
            mbarrier.invalidate(full.index(stage * 4 + tensor))
        mbarrier.invalidate(ready.index(stage))
        mbarrier.invalidate(empty.index(stage))
    mbarrier.invalidate(exchanged)
    mbarrier.invalidate(arrived.index(0))
    mbarrier.invalidate(arrived.index(1))


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
    carried: torch.Tensor | None = None,
    final: torch.Tensor | None = None,
    activation: bool = False,
) -> None:
    """Launch the sweep of ``(k, q, do) -> dv`` and ``(v, do, q) -> dk``; see :mod:`.sweep`.

    ``activation``: q, k and v are what SiLU is applied to, and dv and dk are their gradients.
    """
    layout, heads = pieces.layout, q.shape[2]
    grid = (pieces.count * heads,)
    _gradients[grid](
        *(descriptor(x, BLOCK) for x in (q, k, v, do, dv, dk)), dv, dk,
        slopes,
        initial if initial is not None else slopes,
        carried if carried is not None else slopes,
        final if final is not None else slopes,
        pieces.table if pieces.table is not None else slopes,
        q.stride(2), k.stride(2), v.stride(2), do.stride(2),
        dv.stride(1), dv.stride(2), dk.stride(1), dk.stride(2),
        *(initial.stride() if initial is not None else (0, 0, 0, 0)),
        *(carried.stride() if carried is not None else (0, 0, 0, 0)),
        *(final.stride() if final is not None else (0, 0, 0, 0)),
        layout.tokens, pieces.segment, pieces.per_sequence, heads, heads // k.shape[2], scale,
        C=BLOCK, STAGES=STAGES, REACH=REACH, PACKED=layout.packed,
        INITIAL=initial is not None, CARRIED=carried is not None, FINAL=final is not None,
        SILU=activation,
        CONSUMER_REGISTERS=CONSUMER_REGISTERS, PREPARER_REGISTERS=PREPARER_REGISTERS,
        PRODUCER_REGISTERS=PRODUCER_REGISTERS, num_warps=4,
    )  # fmt: skip
