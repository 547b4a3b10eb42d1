"""Device code of the norms: RMSNorm, its residual form and its sigmoid-gated form are one family.

    y = x * rstd * gain * sigmoid(gate)        rstd = 1 / sqrt(squares / full_width + eps)

where ``squares`` is the row's sum of x^2. An operand that is None is compiled away. A kernel either
holds whole rows and reduces them itself, or is given the reduced numbers and then tiles freely: for
rows too wide for registers, and for rows of which each tensor-parallel rank holds a part.

Rows are counted in int64: a tensor may hold more than 2^31 elements. All arithmetic is fp32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _at(pointer, row, column, stride):
    """Addresses of a tile: rows by columns, columns contiguous."""
    return pointer + row[:, None] * stride + column[None, :]


@triton.jit
def forward(
    x,
    residual,
    gain,
    gate,
    squares_in,
    y,
    total,
    squares_out,
    rows,
    width,
    full_width,
    x_stride,
    residual_stride,
    gate_stride,
    alpha,
    eps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One tile. Without ``squares_in``, COLUMNS covers the row and its squares are summed here.

    With ``residual``, x is first replaced by ``alpha * residual + x``, rounded to the dtype of
    ``total`` and written there: the norm sees what a later reader of ``total`` sees.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    value = tl.load(_at(x, row, column, x_stride), mask=inside, other=0.0).to(tl.float32)
    if residual is not None:
        before = tl.load(_at(residual, row, column, residual_stride), mask=inside, other=0.0)
        rounded = (alpha * before.to(tl.float32) + value).to(total.dtype.element_ty)
        tl.store(_at(total, row, column, width), rounded, mask=inside)
        value = rounded.to(tl.float32)
    if squares_in is not None:
        squares = tl.load(squares_in + row, mask=row < rows, other=1.0)
    else:
        squares = tl.sum(value * value, axis=1)
        tl.store(squares_out + row, squares, mask=row < rows)
    result = value * tl.rsqrt(squares / full_width + eps)[:, None]
    if gain is not None:
        factor = tl.load(gain + column, mask=column < width, other=0.0).to(tl.float32)
        result = result * factor[None, :]
    if gate is not None:
        logit = tl.load(_at(gate, row, column, gate_stride), mask=inside, other=0.0)
        result = result * tl.sigmoid(logit.to(tl.float32))
    tl.store(_at(y, row, column, width), result.to(y.dtype.element_ty), mask=inside)


@triton.jit
def backward(
    dy,
    x,
    gain,
    gate,
    squares,
    moments,
    dtotal,
    dx,
    dresidual,
    dgate,
    dgain_parts,
    rows,
    width,
    full_width,
    dy_stride,
    x_stride,
    gate_stride,
    dtotal_stride,
    alpha,
    eps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Gradients of the tiles first, first + programs, ... of one strip of columns.

        g  = dy * gain * sigmoid(gate)         moment = sum(g * x), over the row
        dx = rstd * g - x * rstd^3 * moment / full_width  (+ dtotal)

    Without ``moments``, COLUMNS covers the row. The gradient of the gain is summed in registers in
    the order of the tiles and written once a program: no atomics, the same bits in every run.
    """
    first = tl.program_id(0)
    programs = tl.num_programs(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    known = column < width
    if gain is not None:
        factor = tl.load(gain + column, mask=known, other=0.0).to(tl.float32)
    if dgain_parts is not None:
        sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for tile in tl.range(first, tl.cdiv(rows, ROWS), programs, num_stages=STAGES):
        row = tile * ROWS + tl.arange(0, ROWS).to(tl.int64)
        inside = (row < rows)[:, None] & known[None, :]
        value = tl.load(_at(x, row, column, x_stride), mask=inside, other=0.0).to(tl.float32)
        g = tl.load(_at(dy, row, column, dy_stride), mask=inside, other=0.0).to(tl.float32)
        square = tl.load(squares + row, mask=row < rows, other=1.0)
        # Rows beyond the last must not reach the gain's gradient, also when eps is 0.
        rstd = tl.where(row < rows, tl.rsqrt(square / full_width + eps), 0.0)[:, None]
        normed = value * rstd
        if gate is not None:
            logit = tl.load(_at(gate, row, column, gate_stride), mask=inside, other=0.0)
            opened = tl.sigmoid(logit.to(tl.float32))
            slope = g * normed * opened * (1.0 - opened)
            if gain is not None:
                slope = slope * factor[None, :]
            slope = slope.to(dgate.dtype.element_ty)
            tl.store(_at(dgate, row, column, width), slope, mask=inside)
            g = g * opened
        if dgain_parts is not None:
            sums += g * normed
        if gain is not None:
            g = g * factor[None, :]
        if moments is not None:
            moment = tl.load(moments + row, mask=row < rows, other=0.0)
        else:
            moment = tl.sum(g * value, axis=1)
        result = rstd * (g - normed * (rstd * (moment / full_width)[:, None]))
        if dtotal is not None:
            extra = tl.load(_at(dtotal, row, column, dtotal_stride), mask=inside, other=0.0)
            result += extra.to(tl.float32)
        tl.store(_at(dx, row, column, width), result.to(dx.dtype.element_ty), mask=inside)
        if dresidual is not None:
            scaled = (alpha * result).to(dresidual.dtype.element_ty)
            tl.store(_at(dresidual, row, column, width), scaled, mask=inside)
    if dgain_parts is not None:
        parts = dgain_parts + first.to(tl.int64) * width + column
        tl.store(parts, tl.sum(sums, axis=0), mask=known)


@triton.jit
def row_squares(
    x,
    residual,
    total,
    squares,
    rows,
    width,
    x_stride,
    residual_stride,
    alpha,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The sum of x^2 of each row, of any width; with ``residual`` also ``total``, as in forward."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < width)[None, :]
        value = tl.load(_at(x, row, column, x_stride), mask=inside, other=0.0).to(tl.float32)
        if residual is not None:
            before = tl.load(_at(residual, row, column, residual_stride), mask=inside, other=0.0)
            rounded = (alpha * before.to(tl.float32) + value).to(total.dtype.element_ty)
            tl.store(_at(total, row, column, width), rounded, mask=inside)
            value = rounded.to(tl.float32)
        sums += value * value
    tl.store(squares + row, tl.sum(sums, axis=1), mask=row < rows)


@triton.jit
def row_moments(
    dy,
    x,
    gain,
    gate,
    moments,
    rows,
    width,
    dy_stride,
    x_stride,
    gate_stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The sum of ``dy * gain * sigmoid(gate) * x`` of each row, of any width."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < width)[None, :]
        value = tl.load(_at(x, row, column, x_stride), mask=inside, other=0.0).to(tl.float32)
        g = tl.load(_at(dy, row, column, dy_stride), mask=inside, other=0.0).to(tl.float32)
        if gate is not None:
            logit = tl.load(_at(gate, row, column, gate_stride), mask=inside, other=0.0)
            g = g * tl.sigmoid(logit.to(tl.float32))
        if gain is not None:
            factor = tl.load(gain + column, mask=column < width, other=0.0).to(tl.float32)
            g = g * factor[None, :]
        sums += g * value
    tl.store(moments + row, tl.sum(sums, axis=1), mask=row < rows)


@triton.jit
def column_sums(parts, out, count, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Second stage of the gain's gradient: the sum of ``count`` rows, always in the same order."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, count, ROWS):
        row = start + tl.arange(0, ROWS).to(tl.int64)
        inside = (row < count)[:, None] & (column < width)[None, :]
        sums += tl.load(_at(parts, row, column, width), mask=inside, other=0.0)
    total = tl.sum(sums, axis=0).to(out.dtype.element_ty)
    tl.store(out + column, total, mask=column < width)
