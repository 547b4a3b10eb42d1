"""What the two kernels for Hopper share: how decay is divided among rows and columns, and SiLU.

A tile is made ready in blocks of 64 columns, which lie one behind the other: what the copy engine's
swizzle spans.

A tile's decay ``λ^{i-j}`` is a factor of row i times one of row j, so it costs no matrix of decays:
with m in the middle of the tile, ``λ^{i-j} = λ^{i-m} λ^{m-j}``. Column factors are multiplied into
a tile's operand where it lies in shared memory, row factors into the outputs, and the state is kept
multiplied by a power of λ such that nothing else is needed.

With ``c'_j = λ^{m-j} c_j`` and n tokens in a tile, a forward sweep is

    T = λ^n T     out_i = scale λ^{i-m} (Σ_{j<=i} (a_i·b_j) c'_j + a_iᵀ T)    T = T + Σ_j b_j c'_jᵀ

where T is the state S times ``λ^{-(n-1-m)}``; and a reverse one, with ``c'_i = scale λ^{i-m} c_i``,

    T = λ^n T     out_j = λ^{m-j} (Σ_{i>=j} (a_j·b_i) c'_i + a_jᵀ T)          T = T + Σ_i b_i c'_iᵀ

where T is R times ``λ^{-(m+1)}``. Factors of rows and columns are at most ``2^(REACH/2)``: a head
that decays faster than REACH bits in a whole tile is walked in steps of fewer tokens
(:func:`step_of`).
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

PREPARERS = gl.constexpr(4)
"""Warps that make tiles ready."""
REACH = 96.0
"""Bits of decay in one step, of the 127 that float32 and bfloat16 have to either side: the fastest
head of the paper, of slope .92, decays by 85 in a tile of 64. What is left is for the data."""


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
def bits_per_token(slope):
    """exp(-slope n) = exp2(-bits n), and bits at most 64: to the next token that is as nothing."""
    return gl.minimum(slope * 1.4426950408889634, 64.0)


@gluon.jit
def step_of(bits, C: gl.constexpr, REACH: gl.constexpr):
    """Tokens of a step: a whole tile unless the head decays too fast."""
    return gl.minimum(gl.maximum(REACH / gl.maximum(bits, 1e-3), 1.0), C).to(gl.int32)


@gluon.jit
def middle(step):
    """The row m of a step whose factor is one."""
    return step // 2


@gluon.jit
def split_power(power):
    """``(keep, change)`` as in ``portable.split_power``: x · power = x · keep + x · change."""
    keep = gl.where(power < 0.5, 0.0, 1.0)
    return keep, (power - keep).to(gl.float32)


@gluon.jit
def _silu(x):
    """x sigmoid(x) = h (1 + tanh h) with h = x/2, of float32; off by up to 2^-12 of x.

    The special function unit takes the tanh of two float16 at once: a quarter of its time for the
    exponential and the reciprocal of each.
    """
    return gl.inline_asm_elementwise(
        """{
        .reg .f32 a, b, s, t;
        .reg .b32 pair;
        .reg .b16 low, high;
        mul.rn.f32 a, $2, 0f3F000000;
        mul.rn.f32 b, $3, 0f3F000000;
        cvt.rn.f16x2.f32 pair, b, a;
        tanh.approx.f16x2 pair, pair;
        mov.b32 {low, high}, pair;
        cvt.f32.f16 s, low;
        cvt.f32.f16 t, high;
        fma.rn.f32 $0, a, s, a;
        fma.rn.f32 $1, b, t, b;
        }""",
        "=f,=f,f,f",
        [x],
        dtype=gl.float32,
        is_pure=True,
        pack=2,
    )


@gluon.jit
def _sigmoid(x):
    """Of float32, by the exponential and the reciprocal of the special function unit."""
    return gl.inline_asm_elementwise(
        """{
        .reg .f32 a;
        mul.rn.f32 a, $1, 0fBFB8AA3B;
        ex2.approx.ftz.f32 a, a;
        add.rn.f32 a, a, 0f3F800000;
        rcp.approx.ftz.f32 $0, a;
        }""",
        "=f,f",
        [x],
        dtype=gl.float32,
        is_pure=True,
        pack=1,
    )


@gluon.jit
def silu_derivative(x):
    """s (1 + x (1 - s)) with s = sigmoid(x), of float32."""
    s = _sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


@gluon.jit
def clear_rows(blocks, first, count, size, C: gl.constexpr):
    """Zero the rows from ``size`` on of ``count`` blocks: they belong to another sequence."""
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [PREPARERS, 1], [1, 0])
    inside = gl.expand_dims(gl.arange(0, C, layout=gl.SliceLayout(1, layout)), 1) < size
    for n in range(count):
        block = blocks.index(first + n)
        x = block.load(layout)
        block.store(gl.where(inside, x, gl.zeros_like(x)))


@gluon.jit
def activate(blocks, first, count):
    """SiLU of ``count`` blocks, where they lie.

    A loop and not straight code: that would be read from memory at every tile, and be waited for.
    """
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [PREPARERS, 1], [1, 0])
    x = blocks.index(first).load(layout)
    for n in range(count):
        following = blocks.index(first + gl.minimum(n + 1, count - 1)).load(layout)
        blocks.index(first + n).store(_silu(x.to(gl.float32)).to(x.dtype))
        x = following


@gluon.jit
def weigh(blocks, first, count, m, bits, factor, C: gl.constexpr, SILU: gl.constexpr,
          REACH: gl.constexpr):  # fmt: skip
    """Multiply row j of ``count`` blocks, or SiLU of it, by ``factor · exp2(bits · (j - m))``."""
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [PREPARERS, 1], [1, 0])
    rows = gl.arange(0, C, layout=gl.SliceLayout(1, layout))
    # Of rows behind a step, which are zero, the power may be infinite.
    power = gl.minimum((rows - m).to(gl.float32) * bits, REACH)
    by_row = gl.expand_dims(gl.exp2(power) * factor, 1)
    x = blocks.index(first).load(layout)
    for n in range(count):
        following = blocks.index(first + gl.minimum(n + 1, count - 1)).load(layout)
        y = x.to(gl.float32)
        if SILU:
            y = _silu(y)
        blocks.index(first + n).store((y * by_row).to(x.dtype))
        x = following
