"""The sweep in Triton's own language: every GPU, head size, dtype and stride, and the interpreter.

One program walks one piece of one head, for a block of value columns, tile by tile, and keeps the
state in registers. See :mod:`.sweep` for what it computes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.lightning.pieces import Pieces
from kernels.lightning.pieces_device import (
    HAS_AFTER,
    HAS_BEFORE,
    cut_after,
    cut_before,
    piece_bounds,
)
from kernels.lightning.silu_device import silu_as_read, silu_derivative
from kernels.triton_support import cdiv, next_power_of_2


@triton.jit
def split_power(power):
    """``(keep, change)``, float32, with ``power = keep + change``: x · power = x·keep + x·change.

    A slow decay is ``1 + (power - 1)``: rounded to float32 as one number it would be off to the
    same side at every tile. A fast one is ``0 + power``: as ``power - 1`` it would lose its digits.
    """
    keep = tl.where(power < 0.5, 0.0, 1.0).to(tl.float32)
    return keep, (power - keep).to(tl.float32)


@triton.jit
def _sweep(
    a, b, c, out, through, slopes, initial, carried, final, table,
    a_b, a_t, a_h, b_b, b_t, b_h, c_b, c_t, c_h, o_b, o_t, o_h,
    p_b, p_t, p_h,
    i_n, i_h, i_k, i_v, s_n, s_h, s_k, s_v, f_n, f_h, f_k, f_v,
    tokens, segment, per_sequence, heads, a_group, b_group, c_group, p_group, scale,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    PACKED: tl.constexpr, REVERSE: tl.constexpr,
    INITIAL: tl.constexpr, CARRIED: tl.constexpr, FINAL: tl.constexpr,
    SILU_A: tl.constexpr, SILU_B: tl.constexpr, SILU_C: tl.constexpr, THROUGH: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """``a`` [.., K], ``b`` [.., K], ``c`` [.., V] -> ``out`` [.., V]; states float32 [K, V].

    ``through`` [.., V] where THROUGH; else it, its strides and its group are None, which Triton
    leaves out of the compiled code. A piece starts from the state in ``carried`` at the cut where
    it begins (ends, in reverse), else from that of its sequence in ``initial``; from zero where
    there is none.
    """
    blocks = tl.cdiv(V, BV)
    program = tl.program_id(0)
    column = program % blocks
    head = (program // blocks) % heads
    piece = program // (blocks * heads)
    sequence, start, stop, flags = piece_bounds(piece, table, tokens, segment, per_sequence, PACKED)
    slope = tl.load(slopes + head) * 1.4426950408889634  # exp(-s n) = exp2(-slope n)
    i = tl.arange(0, C)
    ik = tl.arange(0, BK)
    iv = column * BV + tl.arange(0, BV)
    in_k = ik < K
    in_v = iv < V
    head64 = head.to(tl.int64)
    row = tl.where(PACKED, 0, sequence).to(tl.int64)
    a += row * a_b + (head64 // a_group) * a_h
    b += row * b_b + (head64 // b_group) * b_h
    c += row * c_b + (head64 // c_group) * c_h
    out += row * o_b + head64 * o_h
    if THROUGH:
        through += row * p_b + (head64 // p_group) * p_h

    if REVERSE:
        distance = i[None, :] - i[:, None]
    else:
        distance = i[:, None] - i[None, :]
    # The exponent is masked before exp2: a power that is not wanted may be infinite.
    decay = tl.exp2(-tl.maximum(distance, 0).to(tl.float32) * slope)
    decay = tl.where(distance >= 0, decay * scale, 0.0)
    whole_keep, whole_change = split_power(tl.exp2(-C * slope.to(tl.float64)))

    state = tl.zeros([BK, BV], dtype=tl.float32)
    in_state = in_k[:, None] & in_v[None, :]
    if INITIAL or CARRIED:
        given = in_state
        if INITIAL:
            initial += sequence.to(tl.int64) * i_n + head64 * i_h
        if CARRIED:
            if REVERSE:
                has = (flags & HAS_AFTER) != 0
                carried += cut_after(piece, sequence) * s_n + head64 * s_h
            else:
                has = (flags & HAS_BEFORE) != 0
                carried += cut_before(piece, sequence) * s_n + head64 * s_h
            if INITIAL:
                initial = tl.where(has, carried, initial)
                i_k = tl.where(has, s_k, i_k)
                i_v = tl.where(has, s_v, i_v)
            else:
                initial = carried
                i_k = s_k
                i_v = s_v
                given &= has
        state = tl.load(initial + ik[:, None] * i_k + iv[None, :] * i_v, mask=given, other=0.0)

    tiles = tl.cdiv(stop - start, C)
    for tile in tl.range(0, tiles, num_stages=STAGES):
        if REVERSE:
            first = start + (tiles - 1 - tile) * C
        else:
            first = start + tile * C
        size = tl.minimum(stop - first, C)
        valid = i < size
        if REVERSE:
            row_power = size - 1 - i
            column_power = i + 1
        else:
            row_power = i + 1
            column_power = size - 1 - i
        by_row = tl.exp2(-tl.maximum(row_power, 0).to(tl.float32) * slope)
        by_column = tl.exp2(-tl.maximum(column_power, 0).to(tl.float32) * slope)
        if REVERSE:
            by_column *= scale
        else:
            by_row *= scale
        t = (first + i).to(tl.int64)
        in_a = valid[:, None] & in_k[None, :]
        in_c = valid[:, None] & in_v[None, :]
        x = tl.load(a + t[:, None] * a_t + ik[None, :], mask=in_a, other=0.0)
        y = tl.load(b + t[:, None] * b_t + ik[None, :], mask=in_a, other=0.0)
        z = tl.load(c + t[:, None] * c_t + iv[None, :], mask=in_c, other=0.0)
        # SiLU of the rows that are masked is zero as it is. The masks keep Triton from computing it
        # where each product wants its operand: there several warps hold the same numbers, and on
        # sm_80 ptxas spilled 35 KB of them.
        if SILU_A:
            x = tl.where(in_a, silu_as_read(x), 0.0)
        if SILU_B:
            y = tl.where(in_a, silu_as_read(y), 0.0)
        if SILU_C:
            z = tl.where(in_c, silu_as_read(z), 0.0)
        x = x.to(DOT)
        y = y.to(DOT)
        z = z.to(DOT)
        scores = tl.dot(x, tl.trans(y), input_precision=PRECISION) * decay
        o = tl.dot(x, state.to(DOT), input_precision=PRECISION) * by_row[:, None]
        o = tl.dot(scores.to(DOT), z, o, input_precision=PRECISION)
        if THROUGH:
            raw = tl.load(through + t[:, None] * p_t + iv[None, :], mask=in_c, other=0.0)
            o *= silu_derivative(raw.to(tl.float32))
        tl.store(out + t[:, None] * o_t + iv[None, :], o.to(out.dtype.element_ty), mask=in_c)
        weighted = (z.to(tl.float32) * by_column[:, None]).to(DOT)
        keep, change = split_power(tl.exp2(-size.to(tl.float32) * slope))
        keep = tl.where(size == C, whole_keep, keep)
        change = tl.where(size == C, whole_change, change)
        state = state * keep + state * change
        state = tl.dot(tl.trans(y), weighted, state, input_precision=PRECISION)

    if FINAL:
        at = piece.to(tl.int64) * f_n + head64 * f_h
        tl.store(final + at + ik[:, None] * f_k + iv[None, :] * f_v, state, mask=in_state)


class Tiles(NamedTuple):
    """Tokens of a tile, value columns of a program, warps, and depth of the load pipeline."""

    tokens: int
    columns: int
    warps: int
    stages: int


def tiles(
    key_size: int, value_size: int, itemsize: int, longest: int, *, activated: bool = False
) -> Tiles:
    """Sizes for a shape: what fits in 160 KiB of shared memory, the least of sm_80, 90 and 100.

    ``longest``: no sequence is longer, so a smaller tile wastes less. Sixteen is the least that a
    matrix instruction takes. ``activated``: SiLU is applied to any operand; what it computes in
    float32 takes the registers of twice the warps. Programs of fewer than 64 columns then take
    tiles that are too short for Hopper's own matrix instruction, for which Triton 3.6.0 compiles
    them wrongly (found by the sentinel on an H200: K = 64, V = 32).
    """
    wide = next_power_of_2(max(key_size, 16))
    columns = min(next_power_of_2(max(value_size, 16)), 64 if wide <= 128 else 32)
    if itemsize == 4:
        tile, stages = (32, 2) if wide <= 64 else (16, 1)
    else:
        tile, stages = (64, 2) if wide <= 128 else (32, 2)
    if activated and columns < 64:
        tile = min(tile, 32)
    tile = max(min(tile, next_power_of_2(max(longest, 1))), 16)
    spread = activated and itemsize == 2 and tile > 16 and columns == 64
    return Tiles(tile, columns, 8 if spread else 4, stages)


def arithmetic(dtype: torch.dtype) -> tuple[tl.dtype, str]:
    """Operand type and precision of the matrix products for inputs of ``dtype``.

    float16 goes through TF32, which keeps its eleven bits: scores and states of long sequences pass
    65,504, where float16 ends.
    """
    if dtype == torch.bfloat16:
        return tl.bfloat16, "ieee"
    return tl.float32, "tf32" if dtype == torch.float16 else "ieee"


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
    """Launch one sweep; arguments as in :func:`kernels.lightning.sweep.sweep`.

    ``activated`` and ``preactivation``: :class:`kernels.lightning.operands.Operands`.
    """
    heads, key_size, value_size = out.shape[2], a.shape[3], c.shape[3]
    layout = pieces.layout
    longest = min(layout.tokens, pieces.segment)
    tile, columns, warps, stages = tiles(
        key_size, value_size, a.element_size(), longest, activated=any(activated)
    )
    dot, precision = arithmetic(a.dtype)
    states = (initial, carried, final)
    through: tuple[int | None, ...] = (None, None, None, None)
    if preactivation is not None:
        through = (*preactivation.stride()[:3], heads // preactivation.shape[2])
    grid = (cdiv(value_size, columns) * heads * pieces.count,)
    if 0 in grid:
        return
    _sweep[grid](
        a, b, c, out, preactivation, slopes,
        *(slopes if x is None else x for x in states),
        pieces.table if pieces.table is not None else slopes,
        *a.stride()[:3], *b.stride()[:3], *c.stride()[:3], *out.stride()[:3], *through[:3],
        *(stride for x in states for stride in ((0, 0, 0, 0) if x is None else x.stride())),
        layout.tokens, pieces.segment, pieces.per_sequence, heads,
        heads // a.shape[2], heads // b.shape[2], heads // c.shape[2], through[3], scale,
        K=key_size, V=value_size, BK=next_power_of_2(max(key_size, 16)), BV=columns, C=tile,
        PACKED=layout.packed, REVERSE=reverse,
        INITIAL=initial is not None, CARRIED=carried is not None, FINAL=final is not None,
        SILU_A=activated[0], SILU_B=activated[1], SILU_C=activated[2],
        THROUGH=preactivation is not None,
        DOT=dot, PRECISION=precision, STAGES=stages, num_warps=warps,
    )  # fmt: skip
