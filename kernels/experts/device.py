"""Device code of the experts: ordering, spreading, collecting, SwiGLU.

Nothing here adds from several programs into one place: every output element has one writer, and
every sum one order.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_experts(index, slots, n, experts):
    """The expert of each slot; ``experts`` for a slot without one (and past the last slot)."""
    expert = tl.load(index + slots, mask=slots < n, other=-1).to(tl.int32)
    return tl.where((expert >= 0) & (expert < experts), expert, experts)


@triton.jit
def count_kernel(index, counts, n, experts, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    """``counts[b, e]``: slots of block ``b`` that go to expert ``e``; one program a block."""
    block = tl.program_id(0).to(tl.int64)
    slots = block * BLOCK + tl.arange(0, BLOCK)
    columns = tl.arange(0, COLUMNS)
    expert = load_experts(index, slots, n, experts)
    member = (expert[:, None] == columns[None, :]) & (slots < n)[:, None]
    tl.store(counts + block * COLUMNS + columns, tl.sum(member.to(tl.int32), axis=0))


@triton.jit
def scan_kernel(counts, offsets, blocks, experts, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Turn counts into the row at which each block's slots of each expert begin; one program.

    Also writes ``offsets``, the row at which each expert ends.
    """
    columns = tl.arange(0, COLUMNS)
    rows = tl.arange(0, ROWS)
    totals = tl.zeros([COLUMNS], dtype=tl.int32)
    for first in range(0, blocks, ROWS):
        at = (first + rows).to(tl.int64)[:, None] * COLUMNS + columns[None, :]
        totals += tl.sum(
            tl.load(counts + at, mask=(first + rows < blocks)[:, None], other=0), axis=0
        )
    ends = tl.cumsum(totals, axis=0)
    tl.store(offsets + columns, ends, mask=columns < experts)
    running = ends - totals
    for first in range(0, blocks, ROWS):
        here = (first + rows < blocks)[:, None]
        at = (first + rows).to(tl.int64)[:, None] * COLUMNS + columns[None, :]
        count = tl.load(counts + at, mask=here, other=0)
        tl.store(counts + at, running[None, :] + tl.cumsum(count, axis=0) - count, mask=here)
        running += tl.sum(count, axis=0)


@triton.jit
def place_kernel(index, begins, row_of, n, experts, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    """``row_of[slot]``: where its expert's rows of this block begin, plus its rank among them."""
    block = tl.program_id(0).to(tl.int64)
    slots = block * BLOCK + tl.arange(0, BLOCK)
    columns = tl.arange(0, COLUMNS)
    expert = load_experts(index, slots, n, experts)
    member = (expert[:, None] == columns[None, :]) & (slots < n)[:, None]
    begin = tl.load(begins + block * COLUMNS + columns)
    rank = tl.cumsum(member.to(tl.int32), axis=0) - 1
    row = tl.sum(tl.where(member, begin[None, :] + rank, 0), axis=1)
    tl.store(row_of + slots, row, mask=slots < n)


@triton.jit
def spread_kernel(
    x,
    values,
    row_of,
    offsets,
    spread,
    spread_values,
    tokens,
    width,
    stride,
    experts,
    CHOICES: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
    VALUES: tl.constexpr,
):
    """Copy each token to the rows of its slots: one read, CHOICES writes.

    Rows past the last expert's take zeros, so that no row is left unwritten.
    """
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = token < tokens
    inside = here[:, None] & (column < width)[None, :]
    kept = tl.load(offsets + experts - 1)
    tile = tl.load(x + token[:, None] * stride + column[None, :], mask=inside, other=0)
    for choice in tl.static_range(CHOICES):
        row = tl.load(row_of + token * CHOICES + choice, mask=here, other=0).to(tl.int64)
        used = row < kept
        out = tl.where(used[:, None], tile, tl.zeros_like(tile))
        tl.store(spread + row[:, None] * width + column[None, :], out, mask=inside)
        if VALUES:
            value = tl.load(values + token * CHOICES + choice, mask=here & used, other=0)
            tl.store(spread_values + row, value, mask=here & (tl.program_id(1) == 0))


@triton.jit
def collect_kernel(
    y,
    values,
    row_of,
    offsets,
    weights,
    collected,
    collected_values,
    tokens,
    width,
    stride,
    experts,
    CHOICES: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
    VALUES: tl.constexpr,
    WEIGHTS: tl.constexpr,
):
    """Add up the rows of each token's slots, first choice first, in float32.

    Rows past the last expert's are not read: what they hold, NaN included, does not matter.
    """
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = token < tokens
    inside = (column < width)[None, :]
    kept = tl.load(offsets + experts - 1)
    total = tl.zeros([TOKENS, BLOCK], dtype=tl.float32)
    for choice in tl.static_range(CHOICES):
        slot = token * CHOICES + choice
        row = tl.load(row_of + slot, mask=here, other=0).to(tl.int64)
        used = here & (row < kept)
        at = y + row[:, None] * stride + column[None, :]
        tile = tl.load(at, mask=used[:, None] & inside, other=0).to(tl.float32)
        if WEIGHTS:
            tile *= tl.load(weights + slot, mask=used, other=0).to(tl.float32)[:, None]
        total += tile
        if VALUES:
            value = tl.load(values + row, mask=used, other=0)
            tl.store(collected_values + slot, value, mask=here & (tl.program_id(1) == 0))
    out = collected + token[:, None] * width + column[None, :]
    tl.store(out, total.to(collected.dtype.element_ty), mask=here[:, None] & inside)


@triton.jit
def weighted_backward_kernel(
    d_collected,
    y,
    row_of,
    offsets,
    weights,
    d_y,
    d_weights,
    tokens,
    width,
    d_stride,
    stride,
    experts,
    CHOICES: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Backward of a weighted collect: ``dy[row] = w·dout[t]`` and ``dw = ⟨dout[t], y[row]⟩``."""
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    here = token < tokens
    kept = tl.load(offsets + experts - 1)
    for choice in tl.static_range(CHOICES):
        slot = token * CHOICES + choice
        row = tl.load(row_of + slot, mask=here, other=0).to(tl.int64)
        used = here & (row < kept)
        weight = tl.load(weights + slot, mask=used, other=0).to(tl.float32)
        dot = tl.zeros([TOKENS], dtype=tl.float32)
        for first in range(0, width, BLOCK):
            column = first + tl.arange(0, BLOCK)
            inside = (column < width)[None, :]
            at = d_collected + token[:, None] * d_stride + column[None, :]
            d_tile = tl.load(at, mask=used[:, None] & inside, other=0).to(tl.float32)
            tile = tl.load(
                y + row[:, None] * stride + column[None, :], mask=used[:, None] & inside, other=0
            ).to(tl.float32)
            dot += tl.sum(d_tile * tile, axis=1)
            out = (d_tile * weight[:, None]).to(d_y.dtype.element_ty)
            tl.store(d_y + row[:, None] * width + column[None, :], out, mask=here[:, None] & inside)
        tl.store(d_weights + slot, dot.to(d_weights.dtype.element_ty), mask=here)


@triton.jit
def swiglu_kernel(
    gate_up,
    scales,
    offsets,
    hidden,
    rows,
    width,
    stride,
    experts,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SCALES: tl.constexpr,
):
    """``hidden = scale · SiLU(gate) · up``; rows past the last expert's are zeros."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = row < rows
    used = row < tl.load(offsets + experts - 1)
    inside = (column < width)[None, :]
    at = gate_up + row[:, None] * stride + column[None, :]
    gate = tl.load(at, mask=used[:, None] & inside, other=0).to(tl.float32)
    up = tl.load(at + width, mask=used[:, None] & inside, other=0).to(tl.float32)
    out = gate * tl.sigmoid(gate) * up
    if SCALES:
        out *= tl.load(scales + row, mask=used, other=0).to(tl.float32)[:, None]
    to = hidden + row[:, None] * width + column[None, :]
    tl.store(to, out.to(hidden.dtype.element_ty), mask=here[:, None] & inside)


@triton.jit
def swiglu_backward_kernel(
    gate_up,
    scales,
    offsets,
    d_hidden,
    d_gate_up,
    d_scales,
    rows,
    width,
    stride,
    d_stride,
    experts,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SCALES: tl.constexpr,
):
    """Backward of ``swiglu_kernel``.

    A program takes whole rows, since the scale's gradient is a sum over one.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = row < rows
    used = row < tl.load(offsets + experts - 1)
    scale = tl.full([ROWS], 1.0, dtype=tl.float32)
    if SCALES:
        scale = tl.load(scales + row, mask=used, other=0).to(tl.float32)
    d_scale = tl.zeros([ROWS], dtype=tl.float32)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = (column < width)[None, :]
        mask = used[:, None] & inside
        at = gate_up + row[:, None] * stride + column[None, :]
        gate = tl.load(at, mask=mask, other=0).to(tl.float32)
        up = tl.load(at + width, mask=mask, other=0).to(tl.float32)
        d_at = d_hidden + row[:, None] * d_stride + column[None, :]
        d_out = tl.load(d_at, mask=mask, other=0).to(tl.float32)
        sigmoid = tl.sigmoid(gate)
        silu = gate * sigmoid
        if SCALES:
            d_scale += tl.sum(d_out * silu * up, axis=1)
        d_out *= scale[:, None]
        d_gate = d_out * up * (sigmoid + silu * (1.0 - sigmoid))
        d_up = d_out * silu
        to = d_gate_up + row[:, None] * (2 * width) + column[None, :]
        tl.store(to, d_gate.to(d_gate_up.dtype.element_ty), mask=here[:, None] & inside)
        tl.store(to + width, d_up.to(d_gate_up.dtype.element_ty), mask=here[:, None] & inside)
    if SCALES:
        tl.store(d_scales + row, d_scale.to(d_scales.dtype.element_ty), mask=here)


@triton.jit
def zero_empty_kernel(offsets, weights, size, BLOCK: tl.constexpr):
    """Zero the matrices of the experts that have no row; the others' programs end at once."""
    expert = tl.program_id(0)
    end = tl.load(offsets + expert)
    begin = tl.load(offsets + expert - 1, mask=expert > 0, other=0)
    if end == begin:
        base = weights + expert.to(tl.int64) * size
        zeros = tl.zeros([BLOCK], dtype=weights.dtype.element_ty)
        step = tl.num_programs(1).to(tl.int64) * BLOCK
        for first in range(tl.program_id(1).to(tl.int64) * BLOCK, size, step):
            at = first + tl.arange(0, BLOCK)
            tl.store(base + at, zeros, mask=at < size)
