"""The sweep for Hopper (sm_90), in Gluon: Triton with warps and memory laid out by hand.

In Triton's own language all warps of a program do the same thing, so its tensor cores wait while
the state is rounded and stored, and copies wait for both. Here a program is four parts that meet
at barriers in shared memory:

* one warp that does nothing but ask the copy engine (TMA) for the next tiles of a, b and c;
* four warps that make them ready where they lie in shared memory: columns times their decay, zeros
  for rows of another sequence, and SiLU;
* two groups of four warps, each with the state of 64 value columns in its registers. They share the
  tiles of a and b and do not wait for each other, so one multiplies while the other rounds.

A program reads every tile once. Only bfloat16, head sizes 64 and 128, and tensors that TMA can
address (:func:`fits`); the rest goes to :mod:`.portable`. The interpreter does not run Gluon: this
file is compiled in every test run, and checked against the reference on a GPU.

See :mod:`.sweep` for the equations, :mod:`.hopper_device` for how decay is divided among rows and
columns, and ``docs/kernels.md`` for what was measured on the way here.
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

TILE = 64
"""Tokens of a tile: the least rows of a warp group's matrix instruction, and memory bound."""
COLUMNS = 64
"""Value columns of a warp group."""
STAGES = 3
"""Tiles in flight. Two are 15 % slower on an H200; four do not fit."""
CONSUMER_REGISTERS = 208
PREPARER_REGISTERS = 72
PRODUCER_REGISTERS = 24
"""Registers a thread, of 512 that two groups of consumers and one each of the others share."""


@gluon.jit
def _consume(
    GROUP: gl.constexpr, a_s, b_s, c_s, ready, empty, arrived, state_s, out_s, out_desc,
    through, out, initial, final, bits, step, scale, start, stop, row0, out_column, out_t,
    through_column, given, i_k, i_v, f_k, f_v,
    C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
    REVERSE: gl.constexpr, INITIAL: gl.constexpr, FINAL: gl.constexpr, THROUGH: gl.constexpr,
):  # fmt: skip
    """One warp group: the state of ``BV`` value columns, and their outputs."""
    operand: gl.constexpr = a_s.dtype
    of_state: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BV, 16])
    of_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, C, 16])
    of_out: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BV, 16])
    of_left: gl.constexpr = gl.DotOperandLayout(0, of_out, 2)
    i = gl.expand_dims(gl.arange(0, C, layout=gl.SliceLayout(1, of_scores)), 1)
    j = gl.expand_dims(gl.arange(0, C, layout=gl.SliceLayout(0, of_scores)), 0)
    # As a factor: ptxas serializes the matrix instructions around a select (Triton 3.6 and 3.7).
    if REVERSE:
        mask = gl.where(i <= j, 1.0, 0.0).to(operand)
    else:
        mask = gl.where(i >= j, 1.0, 0.0).to(operand)
    rows = gl.arange(0, C, layout=gl.SliceLayout(1, of_out))
    columns = gl.arange(0, BV, layout=gl.SliceLayout(0, of_out))
    m = middle(step)
    tiles = (stop - start + step - 1) // step
    last = stop - start - (tiles - 1) * step
    if REVERSE:
        by_row = gl.exp2((rows - m).to(gl.float32) * bits)
        enter = gl.exp2((m + 1).to(gl.float32) * bits)
        leave = gl.exp2(-(m + 1).to(gl.float32) * bits)
    else:
        by_row = gl.exp2((m - rows).to(gl.float32) * bits) * scale
        enter = gl.exp2((step - 1 - m).to(gl.float32) * bits)
        leave = gl.exp2((m + 1 - last).to(gl.float32) * bits)
    whole_keep, whole_change = split_power(gl.exp2(-step * bits.to(gl.float64)))
    no_scores = gl.zeros([C, C], gl.float32, of_scores)
    no_out = gl.zeros([C, BV], gl.float32, of_out)

    keys = gl.arange(0, K, layout=gl.SliceLayout(1, of_state))
    values = GROUP * BV + gl.arange(0, BV, layout=gl.SliceLayout(0, of_state))
    if INITIAL:
        before = gl.expand_dims(keys, 1) * i_k + gl.expand_dims(values, 0) * i_v
        state = gl.load(initial + before, mask=(gl.expand_dims(keys, 1) < K) & given, other=0.0)
        state = state * gl.where(tiles > 0, enter, 1.0)
    else:
        state = gl.zeros([K, BV], gl.float32, of_state)

    my_state = state_s.index(GROUP)
    if tiles > 0:
        if THROUGH:
            if REVERSE:
                first = start + (tiles - 1) * step
            else:
                first = start
            bar = arrived.index(GROUP * 2)
            mbarrier.expect(bar, C * BV * 2)
            at = [row0 + first, through_column + GROUP * BV]
            tma.async_copy_global_to_shared(through, at, bar, out_s.index(GROUP * 2))
        mbarrier.wait(ready.index(0), 0)
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
            first = start + (tiles - 1 - tile) * step
        else:
            first = start + tile * step
        size = gl.minimum(stop - first, step)
        keep = whole_keep
        change = whole_change
        if REVERSE:
            if size < step:
                keep, change = split_power(gl.exp2(-size * bits.to(gl.float64)))

        state = state * keep + state * change
        my_state.store(state.to(operand))
        left = gl.convert_layout(scores.to(operand) * mask, of_left)
        fence_async_shared()
        o = warpgroup_mma(a, my_state, no_out, use_acc=False, is_async=True)
        o = warpgroup_mma(left, c, o, is_async=True)
        state = warpgroup_mma(b.permute((1, 0)), c, state, is_async=True)

        # The next tile's scores keep the tensor cores busy while this one's results are rounded.
        # After the last tile they are asked for once more, and not used.
        following = gl.minimum(tile + 1, tiles - 1)
        next_stage = following % STAGES
        mbarrier.wait(ready.index(next_stage), (following // STAGES) & 1)
        next_a = a_s.index(next_stage)
        next_b = b_s.index(next_stage)
        scores = warpgroup_mma(
            next_a, next_b.permute((1, 0)), no_scores, use_acc=False, is_async=True
        )
        o = warpgroup_mma_wait(2, deps=(o,))
        o = o * gl.expand_dims(by_row, 1)
        turn = tile & 1
        my_out = out_s.index(GROUP * 2 + turn)
        if THROUGH:
            mbarrier.wait(arrived.index(GROUP * 2 + turn), (tile // 2) & 1)
            o = o * silu_derivative(my_out.load(of_out).to(gl.float32))
        state, scores = warpgroup_mma_wait(0, deps=(state, scores))
        mbarrier.arrive(empty.index(stage), count=1)
        if size == C:
            if not THROUGH:
                tma.store_wait(1)
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
        if THROUGH:
            if tile + 1 < tiles:
                if REVERSE:
                    next_first = first - step
                else:
                    next_first = first + step
                tma.store_wait(1)
                bar = arrived.index(GROUP * 2 + (turn ^ 1))
                mbarrier.expect(bar, C * BV * 2)
                next_out = out_s.index(GROUP * 2 + (turn ^ 1))
                column = through_column + GROUP * BV
                tma.async_copy_global_to_shared(through, [row0 + next_first, column], bar, next_out)
    tma.store_wait(0)
    if FINAL:
        behind = gl.expand_dims(keys, 1) * f_k + gl.expand_dims(values, 0) * f_v
        gl.store(final + behind, state * gl.where(tiles > 0, leave, 1.0))


@gluon.jit
def _consume_first(consumed, prepared, produced, C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr,
                   GROUPS: gl.constexpr, STAGES: gl.constexpr, REVERSE: gl.constexpr,
                   INITIAL: gl.constexpr, FINAL: gl.constexpr, THROUGH: gl.constexpr,
                   SILU: gl.constexpr, REACH: gl.constexpr):  # fmt: skip
    _consume(0, *consumed, C, K, BV, GROUPS, STAGES, REVERSE, INITIAL, FINAL, THROUGH)


@gluon.jit
def _consume_second(consumed, prepared, produced, C: gl.constexpr, K: gl.constexpr,
                    BV: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
                    REVERSE: gl.constexpr, INITIAL: gl.constexpr, FINAL: gl.constexpr,
                    THROUGH: gl.constexpr, SILU: gl.constexpr, REACH: gl.constexpr):  # fmt: skip
    _consume(1, *consumed, C, K, BV, GROUPS, STAGES, REVERSE, INITIAL, FINAL, THROUGH)


@gluon.jit
def _prepare(consumed, prepared, produced, C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr,
             GROUPS: gl.constexpr, STAGES: gl.constexpr, REVERSE: gl.constexpr,
             INITIAL: gl.constexpr, FINAL: gl.constexpr, THROUGH: gl.constexpr,
             SILU: gl.constexpr, REACH: gl.constexpr):  # fmt: skip
    """One warp group: make each tile ready where it lies. Bits of SILU: of a, of b, of c."""
    a_s, b_s, c_s, full, ready, bits, step, scale, start, stop = prepared
    # A tile of 128 columns lies as two blocks of 64: what the copy engine's swizzle spans.
    WIDE: gl.constexpr = K // C
    a_blocks = a_s._reinterpret(a_s.dtype, [STAGES * WIDE, C, C], c_s.layout)
    b_blocks = b_s._reinterpret(b_s.dtype, [STAGES * WIDE, C, C], c_s.layout)
    m = middle(step)
    # Known only at run time, so that the loops over blocks stay loops.
    groups = gl.where(step > 0, GROUPS, 0)
    wide = gl.where(step > 0, WIDE, 0)
    tiles = (stop - start + step - 1) // step
    for tile in range(tiles):
        stage = tile % STAGES
        if REVERSE:
            size = gl.minimum(stop - start - (tiles - 1 - tile) * step, step)
        else:
            size = gl.minimum(stop - start - tile * step, step)
        mbarrier.wait(full.index(stage), (tile // STAGES) & 1)
        if size < C:
            clear_rows(c_s, stage * GROUPS, groups, size, C)
            clear_rows(b_blocks, stage * WIDE, wide, size, C)
        if REVERSE:
            weigh(c_s, stage * GROUPS, groups, m, -bits, scale, C, SILU & 4, REACH)
        else:
            weigh(c_s, stage * GROUPS, groups, m, bits, 1.0, C, SILU & 4, REACH)
        if SILU & 1:
            activate(a_blocks, stage * WIDE, wide)
        if SILU & 2:
            activate(b_blocks, stage * WIDE, wide)
        fence_async_shared()
        mbarrier.arrive(ready.index(stage), count=1)


@gluon.jit
def _produce(consumed, prepared, produced, C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr,
             GROUPS: gl.constexpr, STAGES: gl.constexpr, REVERSE: gl.constexpr,
             INITIAL: gl.constexpr, FINAL: gl.constexpr, THROUGH: gl.constexpr,
             SILU: gl.constexpr, REACH: gl.constexpr):  # fmt: skip
    """One warp: ask for each tile as soon as its place is free."""
    (a_s, b_s, c_s, full, empty, a, b, c, start, stop, step, row0,
     a_column, b_column, c_column) = produced  # fmt: skip
    tiles = (stop - start + step - 1) // step
    for tile in range(tiles):
        stage = tile % STAGES
        if REVERSE:
            row = row0 + start + (tiles - 1 - tile) * step
        else:
            row = row0 + start + tile * step
        mbarrier.wait(empty.index(stage), ((tile // STAGES) & 1) ^ 1)
        bar = full.index(stage)
        mbarrier.expect(bar, (2 * C * K + C * BV * GROUPS) * 2)
        for group in gl.static_range(GROUPS):
            place = c_s.index(stage * GROUPS + group)
            tma.async_copy_global_to_shared(c, [row, c_column + group * BV], bar, place)
        tma.async_copy_global_to_shared(a, [row, a_column], bar, a_s.index(stage))
        tma.async_copy_global_to_shared(b, [row, b_column], bar, b_s.index(stage))


@gluon.jit
def _sweep(
    a, b, c, through, out, out_base, slopes, initial, carried, final, table,
    a_h, b_h, c_h, through_h, out_t, out_h,
    i_n, i_h, i_k, i_v, s_n, s_h, s_k, s_v, f_n, f_h, f_k, f_v,
    tokens, segment, per_sequence, heads, a_group, b_group, c_group, through_group, scale,
    C: gl.constexpr, K: gl.constexpr, BV: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
    REACH: gl.constexpr, PACKED: gl.constexpr, REVERSE: gl.constexpr,
    INITIAL: gl.constexpr, CARRIED: gl.constexpr, FINAL: gl.constexpr,
    SILU: gl.constexpr, THROUGH: gl.constexpr,
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
        if REVERSE:
            has = (flags & 2) != 0
            carried += (piece - sequence).to(gl.int64) * s_n + head64 * s_h
        else:
            has = (flags & 1) != 0
            carried += (piece - sequence - 1).to(gl.int64) * s_n + head64 * s_h
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
    operand: gl.constexpr = a.dtype
    state_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([K, BV], operand)
    a_s = gl.allocate_shared_memory(operand, [STAGES, C, K], a.layout)
    b_s = gl.allocate_shared_memory(operand, [STAGES, C, K], b.layout)
    c_s = gl.allocate_shared_memory(operand, [STAGES * GROUPS, C, BV], c.layout)
    state_s = gl.allocate_shared_memory(operand, [GROUPS, K, BV], state_layout)
    out_s = gl.allocate_shared_memory(operand, [GROUPS * 2, C, BV], out.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    arrived = gl.allocate_shared_memory(gl.int64, [GROUPS * 2, 1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=1)
        mbarrier.init(ready.index(stage), count=1)
        mbarrier.init(empty.index(stage), count=GROUPS)
    for place in gl.static_range(GROUPS * 2):
        mbarrier.init(arrived.index(place), count=1)
    consumed = (
        a_s, b_s, c_s, ready, empty, arrived, state_s, out_s, out, through,
        out_base, initial, final, bits, step, scale, start, stop, row0, head * out_h, out_t,
        (head // through_group) * through_h, given, i_k, i_v, f_k, f_v,
    )  # fmt: skip
    prepared = (a_s, b_s, c_s, full, ready, bits, step, scale, start, stop)
    produced = (
        a_s, b_s, c_s, full, empty, a, b, c, start, stop, step, row0,
        (head // a_group) * a_h, (head // b_group) * b_h, (head // c_group) * c_h,
    )  # fmt: skip
    if GROUPS == 2:
        gl.warp_specialize([
            (_consume_first, (consumed, prepared, produced, C, K, BV, GROUPS, STAGES,
                REVERSE, STATE, FINAL, THROUGH, SILU, REACH)),
            (_consume_second, (consumed, prepared, produced, C, K, BV, GROUPS, STAGES,
                REVERSE, STATE, FINAL, THROUGH, SILU, REACH)),
            (_prepare, (consumed, prepared, produced, C, K, BV, GROUPS, STAGES,
                REVERSE, STATE, FINAL, THROUGH, SILU, REACH)),
            (_produce, (consumed, prepared, produced, C, K, BV, GROUPS, STAGES,
                REVERSE, STATE, FINAL, THROUGH, SILU, REACH)),
        ], [4, PREPARERS, 1],
            [CONSUMER_REGISTERS, PREPARER_REGISTERS, PRODUCER_REGISTERS])  # fmt: skip
    else:
        gl.warp_specialize([
            (_consume_first, (consumed, prepared, produced, C, K, BV, GROUPS, STAGES,
                REVERSE, STATE, FINAL, THROUGH, SILU, REACH)),
            (_prepare, (consumed, prepared, produced, C, K, BV, GROUPS, STAGES,
                REVERSE, STATE, FINAL, THROUGH, SILU, REACH)),
            (_produce, (consumed, prepared, produced, C, K, BV, GROUPS, STAGES,
                REVERSE, STATE, FINAL, THROUGH, SILU, REACH)),
        ], [PREPARERS, 1], [PREPARER_REGISTERS, PRODUCER_REGISTERS])  # fmt: skip
    for stage in gl.static_range(STAGES):
        mbarrier.invalidate(full.index(stage))
        mbarrier.invalidate(ready.index(stage))
        mbarrier.invalidate(empty.index(stage))
    for place in gl.static_range(GROUPS * 2):
        mbarrier.invalidate(arrived.index(place))


def silu_bits(activated: tuple[bool, bool, bool]) -> int:
    """SILU of the kernel: which of a, b and c SiLU is applied to."""
    a, b, c = activated
    return a + 2 * b + 4 * c


def fits(*tensors: torch.Tensor) -> bool:
    """Whether the copy engine can address every one of some ``[B, T, heads, D]`` tensors.

    It sees ``[B·T, columns]``: the rows of a batch must follow each other evenly, and the start and
    the distance of rows and heads must be multiples of 16 bytes.
    """
    for x in tensors:
        batch, tokens, heads, size = x.shape
        b, t, h, one = x.stride()
        if x.dtype != torch.bfloat16 or size not in (64, 128) or one != 1 or x.numel() == 0:
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
    carried: torch.Tensor | None = None,
    final: torch.Tensor | None = None,
    activated: tuple[bool, bool, bool] = (False, False, False),
    preactivation: torch.Tensor | None = None,
) -> None:
    """Launch one sweep; arguments as in :func:`kernels.lightning.sweep.sweep`."""
    through = out if preactivation is None else preactivation
    layout, heads, key_size = pieces.layout, out.shape[2], a.shape[3]
    grid = (pieces.count * heads,)
    _sweep[grid](
        descriptor(a, key_size), descriptor(b, key_size), descriptor(c, COLUMNS),
        descriptor(through, COLUMNS), descriptor(out, COLUMNS), out,
        slopes,
        initial if initial is not None else slopes,
        carried if carried is not None else slopes,
        final if final is not None else slopes,
        pieces.table if pieces.table is not None else slopes,
        a.stride(2), b.stride(2), c.stride(2), through.stride(2), out.stride(1), out.stride(2),
        *(initial.stride() if initial is not None else (0, 0, 0, 0)),
        *(carried.stride() if carried is not None else (0, 0, 0, 0)),
        *(final.stride() if final is not None else (0, 0, 0, 0)),
        layout.tokens, pieces.segment, pieces.per_sequence, heads,
        *(heads // x.shape[2] for x in (a, b, c, through)), scale,
        C=TILE, K=key_size, BV=COLUMNS, GROUPS=c.shape[3] // COLUMNS, STAGES=STAGES,
        REACH=REACH, PACKED=layout.packed, REVERSE=reverse,
        INITIAL=initial is not None, CARRIED=carried is not None, FINAL=final is not None,
        SILU=silu_bits(activated),
        THROUGH=preactivation is not None,
        CONSUMER_REGISTERS=CONSUMER_REGISTERS, PREPARER_REGISTERS=PREPARER_REGISTERS,
        PRODUCER_REGISTERS=PRODUCER_REGISTERS, num_warps=4,
    )  # fmt: skip
