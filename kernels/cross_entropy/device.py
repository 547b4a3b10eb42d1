"""Triton kernels over rows of logits: softmax statistics, and logits turned into their gradient.

The plain torch forms of both are in ``rows.py``, which also launches them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _capped(logits, cap):
    """``cap · tanh(logits / cap)`` and its derivative, each with a small relative error."""
    y = logits / cap
    # Of exp(-2|y|) alone: 1 - tanh² would lose every digit where the cap is reached.
    decay = tl.exp(-2 * tl.abs(y))
    # The exponential form loses digits where tanh(y) is about y, the series does not: its first
    # dropped term is 62/2835·y⁸ of the whole, below 3e-10 here.
    square = y * y
    series = y * (1 - square * (1.0 / 3 - square * (2.0 / 15 - square * (17.0 / 315))))
    far = tl.where(y < 0, -1.0, 1.0) * (1 - decay) / (1 + decay)
    # A NaN is in neither range; `far` is NaN then.
    value = cap * tl.where(tl.abs(y) < 0.1, series, far)
    return value, 4 * decay / ((1 + decay) * (1 + decay))


@triton.jit
def statistics_kernel(
    logits,
    targets,
    out,
    rows,
    columns,
    stride,
    first,
    scale,
    cap,
    BLOCK: tl.constexpr,
    CAPPED: tl.constexpr,
    TOTAL: tl.constexpr,
):
    """One program reads one row once; ``out[3, rows]`` is log-sum-exp, target's logit, sum."""
    row = tl.program_id(0).to(tl.int64)
    base = logits + row * stride
    # Each lane keeps a maximum and a sum of its own, so the loop has no reduction across lanes.
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    mass = tl.zeros([BLOCK], tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < columns
        x = scale * tl.load(base + column, mask=inside, other=0.0).to(tl.float32)
        if CAPPED:
            x, _ = _capped(x, cap)
        if TOTAL:
            total += tl.where(inside, x, 0.0)
        x = tl.where(inside, x, float("-inf"))
        # One exponential serves both cases: it rescales the old sum, or is the new term. Equal
        # values skip it, as inf - inf is NaN.
        step = tl.where(x == top, 1.0, tl.exp(-tl.abs(x - top)))
        above = x > top
        mass = tl.where(above, mass * step + 1.0, mass + step)
        top = tl.where(above, x, top)
    # A lane of -inf alone has counted its terms; exp(-inf) takes them out. A NaN stays in `mass`.
    peak = tl.max(top, axis=0)
    shift = tl.where(tl.abs(peak) == float("inf"), 0.0, peak)
    lse = shift + tl.log(tl.sum(mass * tl.exp(top - shift), axis=0))
    tl.store(out + row, lse)

    local = tl.load(targets + row) - first
    held = (local >= 0) & (local < columns)
    x = scale * tl.load(base + local, mask=held, other=0.0).to(tl.float32)
    if CAPPED:
        x, _ = _capped(x, cap)
    tl.store(out + rows + row, tl.where(held, x, 0.0))
    tl.store(out + 2 * rows + row, tl.sum(total, axis=0))


@triton.jit
def gradient_kernel(
    logits,
    targets,
    lse,
    cotangents,
    out,
    columns,
    blocks,
    stride,
    out_stride,
    cotangent_stride,
    first,
    scale,
    cap,
    BLOCK: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """One program turns one block of a row into its gradient; ``out`` may be ``logits``."""
    program = tl.program_id(0)
    row = (program // blocks).to(tl.int64)
    column = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    of_lse = tl.load(cotangents + row)
    of_target = tl.load(cotangents + cotangent_stride + row)
    of_total = tl.load(cotangents + 2 * cotangent_stride + row)
    # A row that the loss does not see has a gradient of zero, whatever its logits are; they are
    # not even read. A NaN cotangent is not zero. (Compared as a block: the interpreter of Triton
    # 3.7 spreads the comparison of a scalar float as a float.)
    weight = tl.abs(of_lse) + tl.abs(of_target) + tl.abs(of_total)
    seen = tl.zeros([BLOCK], tl.float32) + weight != 0
    x = scale * tl.load(logits + row * stride + column, mask=inside & seen, other=0.0).to(
        tl.float32
    )
    slope = 1.0
    if CAPPED:
        x, slope = _capped(x, cap)
    local = tl.load(targets + row) - first
    gradient = of_lse * tl.exp(x - tl.load(lse + row)) + of_total
    gradient += tl.where(column == local, of_target, 0.0)
    gradient *= slope
    gradient = tl.where(seen, gradient, 0.0)
    place = out + row * out_stride + column
    tl.store(place, gradient.to(out.dtype.element_ty), mask=inside)
