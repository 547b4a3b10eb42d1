"""The states at the cuts between pieces: what each piece adds, then a scan over the pieces.

A state for every cut (:mod:`.pieces`), and none for what is before the first piece of a sequence or
behind its last: that is the caller's. What a piece adds to the next one is kept beside the state at
the cut between them; what the last one adds, which only the state behind it takes, where that is
to be written.

A piece adds to the state behind it no more than its last tokens do, those within the head's horizon
(:mod:`.horizon`): so with the paper's slopes most of a long sequence is not read a second time. The
programs decide that from the slopes on the device; nothing is copied to the host.

Pieces are as long as the sweep likes them, too long for one program to add up in time. So each is
taken in parts, and the scan adds those.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels import sentinel
from kernels.lightning.pieces import Pieces
from kernels.lightning.pieces_device import (
    HAS_AFTER,
    HAS_BEFORE,
    clamp_boundary,
    cut_after,
    cut_before,
    piece_bounds,
)
from kernels.lightning.portable import arithmetic, split_power
from kernels.lightning.silu_device import silu_as_read
from kernels.triton_support import cdiv, next_power_of_2

PART = 4096
"""Tokens of a part. Shorter ones move more states, longer ones keep too few programs busy."""
HORIZON_BITS = 24
"""State whose decay is below 2^-24 is left out: half a unit in the last place of float32."""


@triton.jit
def within_reach(slope, BITS: tl.constexpr):
    """Tokens from a cut that count, int32: the horizon, or all when the head hardly decays."""
    return tl.minimum(BITS / tl.maximum(slope, 1e-9) + 1.0, 2.0e9).to(tl.int32)


@triton.jit
def _added(
    own, ends, e_n, e_h, e_k, e_v, piece, sequence, flags, part, parts, head, heads, key, value,
    K: tl.constexpr, V: tl.constexpr, REVERSE: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """Where a part of a piece leaves what it adds: at its cut, or in ``ends``."""
    if REVERSE:
        leads_on = (flags & HAS_BEFORE) != 0
        cut = cut_before(piece, sequence)
    else:
        leads_on = (flags & HAS_AFTER) != 0
        cut = cut_after(piece, sequence)
    place = own + ((cut * parts + part) * heads + head) * (K * V) + key * V + value
    if LAST:
        last = ends + (sequence.to(tl.int64) * parts + part) * e_n + head.to(tl.int64) * e_h
        place = tl.where(leads_on, place, last + key * e_k + value * e_v)
    return place


@triton.jit
def _own(
    b, c, own, ends, slopes, table,
    b_b, b_t, b_h, c_b, c_t, c_h, e_n, e_h, e_k, e_v,
    tokens, segment, per_sequence, heads, parts, part_tokens, b_group, c_group, scale,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    PACKED: tl.constexpr, REVERSE: tl.constexpr, LAST: tl.constexpr, BITS: tl.constexpr,
    SILU_B: tl.constexpr, SILU_C: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """``b`` [.., K], ``c`` [.., V] -> ``own`` [cuts, parts, heads, K, V], each from zero.

    Where LAST, of a last piece -> ``ends`` [sequences x parts, heads, K, V].
    """
    blocks = tl.cdiv(V, BV)
    program = tl.program_id(0)
    column = program % blocks
    head = (program // blocks) % heads
    part = program // (blocks * heads)
    piece = part // parts
    sequence, start, stop, flags = piece_bounds(piece, table, tokens, segment, per_sequence, PACKED)
    slope = tl.load(slopes + head) * 1.4426950408889634
    needed = LAST | ((flags & (HAS_BEFORE if REVERSE else HAS_AFTER)) != 0)
    reach = within_reach(slope, BITS)
    far = stop
    near = start
    start = tl.minimum(start + (part % parts) * part_tokens, stop)
    stop = tl.minimum(start + part_tokens, stop)
    # Tokens within reach of the cut, which lies behind the piece, or before it in reverse.
    if REVERSE:
        reach -= start - near
    else:
        reach -= far - stop
    length = tl.maximum(tl.minimum(stop - start, reach), 0)
    if not needed or length == 0:
        return
    i = tl.arange(0, C)
    ik = tl.arange(0, BK)
    iv = column * BV + tl.arange(0, BV)
    in_k = ik < K
    in_v = iv < V
    head64 = head.to(tl.int64)
    row = tl.where(PACKED, 0, sequence).to(tl.int64)
    b += row * b_b + (head64 // b_group) * b_h
    c += row * c_b + (head64 // c_group) * c_h
    state = tl.zeros([BK, BV], dtype=tl.float32)
    whole_keep, whole_change = split_power(tl.exp2(-C * slope.to(tl.float64)))
    tiles = tl.cdiv(length, C)
    # Tiles run toward the cut; the ragged one is where the walk begins.
    ragged = length - (tiles - 1) * C
    for tile in tl.range(0, tiles, num_stages=STAGES):
        size = tl.where(tile == 0, ragged, C)
        done = tl.where(tile == 0, 0, ragged + (tile - 1) * C)
        if REVERSE:
            first = start + length - done - size
            power = i + 1
        else:
            first = stop - length + done
            power = size - 1 - i
        valid = i < size
        weight = tl.exp2(-tl.maximum(power, 0).to(tl.float32) * slope) * scale
        t = (first + i).to(tl.int64)
        y = tl.load(
            b + t[:, None] * b_t + ik[None, :], mask=valid[:, None] & in_k[None, :], other=0.0
        )
        z = tl.load(
            c + t[:, None] * c_t + iv[None, :], mask=valid[:, None] & in_v[None, :], other=0.0
        )
        if SILU_B:
            y = silu_as_read(y)
        if SILU_C:
            z = silu_as_read(z)
        y = y.to(DOT)
        z = z.to(tl.float32)
        keep, change = split_power(tl.exp2(-size.to(tl.float32) * slope))
        keep = tl.where(size == C, whole_keep, keep)
        change = tl.where(size == C, whole_change, change)
        state = state * keep + state * change
        weighted = (z * weight[:, None]).to(DOT)
        state = tl.dot(tl.trans(y), weighted, state, input_precision=PRECISION)
    place = _added(
        own, ends, e_n, e_h, e_k, e_v, piece, sequence, flags, part % parts, parts, head, heads,
        ik[:, None], iv[None, :], K, V, REVERSE, LAST,
    )  # fmt: skip
    tl.store(place, state, mask=in_k[:, None] & in_v[None, :])


@triton.jit
def _scan(
    own, ends, states, initial, final, slopes, table, cu,
    e_n, e_h, e_k, e_v, i_n, i_h, i_k, i_v, f_n, f_h, f_k, f_v,
    tokens, segment, per_sequence, heads, parts, part_tokens,
    K: tl.constexpr, V: tl.constexpr, BLOCK: tl.constexpr,
    PACKED: tl.constexpr, REVERSE: tl.constexpr, INITIAL: tl.constexpr, FINAL: tl.constexpr,
    BITS: tl.constexpr,
):  # fmt: skip
    """``own`` [cuts, parts, heads, K, V] -> ``states`` [cuts, heads, K, V].

    ``ends`` as :func:`_own` leaves it where FINAL, and it may be ``final``: each element is read
    before the one that takes its place is known.
    """
    blocks = tl.cdiv(K * V, BLOCK)
    program = tl.program_id(0)
    part = program % blocks
    head = (program // blocks) % heads
    sequence = program // (blocks * heads)
    slope = tl.load(slopes + head) * 1.4426950408889634
    if PACKED:
        low = sequence + clamp_boundary(tl.load(cu + sequence), tokens) // segment
        high = sequence + 1 + clamp_boundary(tl.load(cu + sequence + 1), tokens) // segment
    else:
        low = sequence * per_sequence
        high = low + per_sequence
    e = part * BLOCK + tl.arange(0, BLOCK)
    inside = e < K * V
    key = e // V
    value = e % V
    head64 = head.to(tl.int64)
    sequence64 = sequence.to(tl.int64)
    reach = within_reach(slope, BITS)
    state = tl.zeros([BLOCK], dtype=tl.float32)
    if INITIAL:
        given = initial + sequence64 * i_n + head64 * i_h
        state = tl.load(given + key * i_k + value * i_v, mask=inside, other=0.0)
    for step in range(high - low):
        if REVERSE:
            piece = high - 1 - step
        else:
            piece = low + step
        owner, start, stop, flags = piece_bounds(
            piece, table, tokens, segment, per_sequence, PACKED
        )
        if REVERSE:
            cut = cut_after(piece, sequence)
        else:
            cut = cut_before(piece, sequence)
        # The first step's state is the one given. Every cut is one sequence's, or its end: so all
        # of `states` is written.
        tl.store(states + (cut * heads + head64) * (K * V) + e, state, mask=inside & (step > 0))
        if FINAL:
            needed = True
        else:
            needed = (flags & (HAS_BEFORE if REVERSE else HAS_AFTER)) != 0
        for count in range(parts):
            if REVERSE:
                part = parts - 1 - count
            else:
                part = count
            begin = tl.minimum(start + part * part_tokens, stop)
            end = tl.minimum(begin + part_tokens, stop)
            if REVERSE:
                distance = begin - start
            else:
                distance = stop - end
            counts = needed & (distance < reach) & (begin < end)
            added = _added(
                own, ends, e_n, e_h, e_k, e_v, piece, owner, flags, part, parts, head, heads,
                key, value, K, V, REVERSE, FINAL,
            )  # fmt: skip
            power = tl.exp2(-(end - begin).to(tl.float64) * slope.to(tl.float64))
            keep, change = split_power(power)
            state = state * keep + state * change
            state += tl.load(added, mask=inside & counts, other=0.0)
    if FINAL:
        written = final + sequence64 * f_n + head64 * f_h
        tl.store(written + key * f_k + value * f_v, state, mask=inside)


def carry(
    b: torch.Tensor,
    c: torch.Tensor,
    slopes: torch.Tensor,
    pieces: Pieces,
    cu_seqlens: torch.Tensor | None,
    *,
    reverse: bool,
    scale: float,
    initial: torch.Tensor | None = None,
    final: torch.Tensor | None = None,
    part_tokens: int | None = None,
    activated: tuple[bool, bool] = (False, False),
) -> torch.Tensor:
    """float32 [cuts, heads, K, V]: the state at each cut, before what is swept next.

    ``b`` and ``c`` as in :mod:`.sweep`; ``scale`` multiplies what they add, in either direction.
    ``activated``: SiLU is applied to b and c as they are read.

    ``initial`` and ``final`` float32 [sequences, heads, K, V], any strides: the state before the
    first piece of each sequence, and (written) behind its last. ``part_tokens`` of a part,
    :data:`PART` when left out. At a cut on a boundary of a packed row the state has no meaning.
    """
    from kernels.lightning.trials.carry import carry_candidate  # which imports this module

    layout = pieces.layout
    heads, key_size, value_size = layout.heads, b.shape[3], c.shape[3]
    floats = (heads, key_size, value_size)
    states = torch.empty((pieces.cuts, *floats), dtype=torch.float32, device=b.device)
    # A packed row has many short pieces, and its table says nothing of parts.
    length = min(pieces.segment, max(layout.tokens, 1))
    part = length if layout.packed else min(length, part_tokens or PART)
    parts = cdiv(length, part)
    candidate = carry_candidate(
        b, c, pieces, cu_seqlens, parts, reverse=reverse, initial=initial, final=final,
        activated=activated,
    )  # fmt: skip
    sentinel.choose([(candidate,)], b.device)
    own = torch.empty((pieces.cuts * parts, *floats), dtype=torch.float32, device=b.device)
    ends = final
    if final is not None and parts > 1:  # too many to wait where the sum of them will be
        ends = torch.empty((layout.sequences * parts, *floats), dtype=own.dtype, device=own.device)
    i_strides = initial.stride() if initial is not None else (0, 0, 0, 0)
    f_strides = final.stride() if final is not None else (0, 0, 0, 0)
    e_strides = ends.stride() if ends is not None else (0, 0, 0, 0)
    dot, precision = arithmetic(b.dtype)
    wide = next_power_of_2(max(key_size, 16))
    tile = 64 if b.element_size() == 2 else 16
    columns = min(next_power_of_2(max(value_size, 16)), 128 if b.element_size() == 2 else 64)
    if wide > 128:
        columns = min(columns, 32)
    table = pieces.table if pieces.table is not None else slopes
    _own[(cdiv(value_size, columns) * heads * pieces.count * parts,)](
        b, c, own, ends if ends is not None else slopes, slopes, table,
        *b.stride()[:3], *c.stride()[:3], *e_strides,
        layout.tokens, pieces.segment, pieces.per_sequence, heads, parts, part,
        heads // b.shape[2], heads // c.shape[2], scale,
        K=key_size, V=value_size, BK=wide, BV=columns, C=tile,
        PACKED=layout.packed, REVERSE=reverse, LAST=final is not None, BITS=HORIZON_BITS,
        SILU_B=activated[0], SILU_C=activated[1],
        DOT=dot, PRECISION=precision, STAGES=3 if b.element_size() == 2 else 1,
        num_warps=8 if columns == 128 else 4,
    )  # fmt: skip
    block = min(next_power_of_2(key_size * value_size), 1024)
    _scan[(cdiv(key_size * value_size, block) * heads * layout.sequences,)](
        own, ends if ends is not None else slopes, states,
        initial if initial is not None else slopes,
        final if final is not None else slopes,
        slopes, table, cu_seqlens if cu_seqlens is not None else slopes,
        *e_strides, *i_strides, *f_strides,
        layout.tokens, pieces.segment, pieces.per_sequence, heads, parts, part,
        K=key_size, V=value_size, BLOCK=block,
        PACKED=layout.packed, REVERSE=reverse,
        INITIAL=initial is not None, FINAL=final is not None, BITS=HORIZON_BITS, num_warps=4,
    )  # fmt: skip
    return states
