"""Device code of the rotary embedding: q and k of a token in one program."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _cos_sin(position, ROTARY: tl.constexpr, HALF: tl.constexpr, LOG2_BASE: tl.constexpr):
    """cos and sin of ``position * base^(-2 j / ROTARY)``, fp32 ``[HALF]``, to 3e-7 at 10M.

    fp32 angles are useless there: one rounding of 10^7 radians is half a radian. So an angle is
    counted in turns, in fixed point of 64 bits: position * frequency modulo 2^64 drops whole turns
    by wrapping and loses nothing. What is left of a turn is split, still as an integer, into a
    quadrant and at most an eighth of a turn to either side, and only that becomes fp32. The error
    is that of the frequency: 2^-51 of it, in fp64, times the position.
    """
    j = tl.arange(0, HALF)
    exponent = j.to(tl.float64) * tl.full((), -2.0 * LOG2_BASE / ROTARY, tl.float64)
    # 2^64 / (2 pi): the frequency is at most one radian a position, so this stays below 2^62.
    scale = tl.full((), 2935890503282001226.0, tl.float64)
    frequency = (tl.exp2(exponent) * scale).to(tl.int64)
    turn = frequency * position + (1 << 61)
    quadrant = (turn >> 62) & 3
    eighth = ((turn & ((1 << 62) - 1)) - (1 << 61)).to(tl.float32)
    x = eighth * 3.4061215800865453e-19  # 2 pi / 2^64: radians, at most pi / 4
    x2 = x * x
    # Taylor: the first dropped terms are below 2e-9.
    sin = x + x * x2 * (-1.0 / 6 + x2 * (1.0 / 120 + x2 * (-1.0 / 5040 + x2 * (1.0 / 362880))))
    cos = 1.0 + x2 * (
        -0.5 + x2 * (1.0 / 24 + x2 * (-1.0 / 720 + x2 * (1.0 / 40320 - x2 * (1.0 / 3628800))))
    )
    odd = (quadrant & 1) == 1
    turned_cos = tl.where(odd, sin, cos)
    turned_sin = tl.where(odd, cos, sin)
    turned_cos = tl.where((quadrant == 1) | (quadrant == 2), -turned_cos, turned_cos)
    turned_sin = tl.where(quadrant >= 2, -turned_sin, turned_sin)
    return turned_cos, turned_sin


@triton.jit
def _rotate_heads(
    x,
    y,
    heads,
    stride,
    cos,
    sin,
    HEAD: tl.constexpr,
    ROTARY: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Rotate one token's heads from x (head stride ``stride``) to y (contiguous)."""
    j = tl.arange(0, HALF)[None, :]
    for start in range(0, heads, BLOCK):
        head = start + tl.arange(0, BLOCK)[:, None]
        inside = (head < heads) & (j < ROTARY // 2)
        source = x + head.to(tl.int64) * stride + j
        target = y + head * HEAD + j
        first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(source + ROTARY // 2, mask=inside, other=0.0).to(tl.float32)
        turned = first * cos - second * sin
        tl.store(target, turned.to(y.dtype.element_ty), mask=inside)
        turned = second * cos + first * sin
        tl.store(target + ROTARY // 2, turned.to(y.dtype.element_ty), mask=inside)
        if HEAD > ROTARY:
            column = ROTARY + tl.arange(0, REST)[None, :]
            inside = (head < heads) & (column < HEAD)
            rest = tl.load(x + head.to(tl.int64) * stride + column, mask=inside)
            tl.store(y + head * HEAD + column, rest, mask=inside)


@triton.jit
def rotate(
    q,
    k,
    positions,
    q_out,
    k_out,
    tokens,
    q_heads,
    k_heads,
    q_batch_stride,
    q_token_stride,
    q_head_stride,
    k_batch_stride,
    k_token_stride,
    k_head_stride,
    positions_batch_stride,
    positions_token_stride,
    HEAD: tl.constexpr,
    ROTARY: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    LOG2_BASE: tl.constexpr,
    INVERSE: tl.constexpr,
    Q_BLOCK: tl.constexpr,
    K_BLOCK: tl.constexpr,
):
    """Rotate all heads of one token, or rotate them back."""
    program = tl.program_id(0).to(tl.int64)
    batch = program // tokens
    token = program % tokens
    position = tl.load(
        positions + batch * positions_batch_stride + token * positions_token_stride
    ).to(tl.int64)
    cos, sin = _cos_sin(position, ROTARY, HALF, LOG2_BASE)
    cos = cos[None, :]
    sin = -sin[None, :] if INVERSE else sin[None, :]
    _rotate_heads(
        q + batch * q_batch_stride + token * q_token_stride,
        q_out + program * q_heads * HEAD,
        q_heads,
        q_head_stride,
        cos,
        sin,
        HEAD,
        ROTARY,
        HALF,
        REST,
        Q_BLOCK,
    )
    _rotate_heads(
        k + batch * k_batch_stride + token * k_token_stride,
        k_out + program * k_heads * HEAD,
        k_heads,
        k_head_stride,
        cos,
        sin,
        HEAD,
        ROTARY,
        HALF,
        REST,
        K_BLOCK,
    )
