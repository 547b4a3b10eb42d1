"""The kernel of a decode step: a state is read, decayed, added to, multiplied and written, once.

A step does a few operations for each 8 bytes of state that it moves, so memory sets its time. A
program holds the tile ``[K, COLUMNS]`` of one head's state in registers: all of K, so that ``qᵀS``
is summed inside the program, and few enough columns that one sequence of 64 heads fills a GPU.
Tiles of one head are neighbours in the grid, so whole pages stream through memory in order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.lightning.silu_device import silu


@triton.jit
def decay_terms(slope):
    """``(a, c)`` such that ``λS = aS + cS`` for ``λ = exp(-slope)``.

    A slope of 5e-5 has a λ that fp32 cannot tell from one 3e-8 away, which after the 20,000 tokens
    that such a head remembers is an error of 6e-4. So slow decays take ``S - (1-λ)S``, where
    ``1-λ`` has its own 24 bits; up to a slope of 1/4 eight terms of its series are exact to fp32.
    """
    rest = 1.0 - slope * (1.0 / 8)
    rest = 1.0 - slope * (1.0 / 7) * rest
    rest = 1.0 - slope * (1.0 / 6) * rest
    rest = 1.0 - slope * (1.0 / 5) * rest
    rest = 1.0 - slope * (1.0 / 4) * rest
    rest = 1.0 - slope * (1.0 / 3) * rest
    rest = 1.0 - slope * (1.0 / 2) * rest
    slow = slope < 0.25
    return tl.where(slow, 1.0, 0.0), tl.where(slow, -slope * rest, tl.exp(-slope))


@triton.jit
def decode_kernel(
    q,
    k,
    v,
    states,
    slopes,
    read_pages,
    write_pages,
    out,
    pages,
    heads,
    group,
    scale,
    q_batch,
    q_token,
    q_head,
    k_batch,
    k_token,
    k_head,
    v_batch,
    v_token,
    v_head,
    state_page,
    state_head,
    out_batch,
    out_token,
    out_head,
    read_batch,
    write_batch,
    write_token,
    TOKENS: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    K_BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    INDEXED: tl.constexpr,
    FORKED: tl.constexpr,
    SILU: tl.constexpr,
):
    """One tile of columns of one head of one row of the batch, for ``TOKENS`` tokens.

    ``INDEXED``: the row's page is ``read_pages[row]``, else ``row``. ``FORKED``: the state after
    each token goes to ``write_pages[row, token]``, else only the last one, to the page it came
    from.
    """
    tiles: tl.constexpr = (V + COLUMNS - 1) // COLUMNS
    program = tl.program_id(0)
    head = (program // tiles) % heads
    row = (program // tiles // heads).to(tl.int64)
    kv_head = head // group
    at_k = tl.arange(0, K_BLOCK)
    at_v = (program % tiles) * COLUMNS + tl.arange(0, COLUMNS)
    in_k = at_k < K
    in_v = at_v < V

    page = row
    if INDEXED:
        page = tl.load(read_pages + row * read_batch).to(tl.int64)
    # Outside the pool nothing may be touched. A negative page is a padding slot; one beyond the
    # pool is a mistake, which the host cannot see without waiting for the GPU: NaN shows it.
    held = (page >= 0) & (page < pages)
    unseen = tl.where(page < 0, 0.0, float("nan"))

    inside = in_k[:, None] & held
    if V % COLUMNS != 0:
        inside = inside & in_v[None, :]
    tile = at_k[:, None] * V + at_v[None, :]
    pool = states + head.to(tl.int64) * state_head
    source = pool + page * state_page + tile
    state = tl.load(source, mask=inside, other=0.0)
    keep, change = decay_terms(tl.load(slopes + head))

    # Pointers advance by a token at a time: a token's number times its stride may pass 2^31.
    q_row = q + row * q_batch + head.to(tl.int64) * q_head
    k_row = k + row * k_batch + kv_head.to(tl.int64) * k_head
    v_row = v + row * v_batch + kv_head.to(tl.int64) * v_head
    out_row = out + row * out_batch + head.to(tl.int64) * out_head
    target_row = write_pages
    if FORKED:
        target_row += row * write_batch
    for token in tl.static_range(TOKENS):
        query = tl.load(q_row + at_k, mask=in_k, other=0.0).to(tl.float32)
        key = tl.load(k_row + at_k, mask=in_k, other=0.0).to(tl.float32)
        value = tl.load(v_row + at_v, mask=in_v, other=0.0).to(tl.float32)
        if SILU:
            query = silu(query)
            key = silu(key)
            value = silu(value)
        state = state * keep + state * change + key[:, None] * value[None, :]
        # Stored before the sum over K, whose exchanges between warps would hold the stores up.
        visible = held
        if FORKED:
            target = tl.load(target_row).to(tl.int64)
            visible = held & (target < pages)
            tl.store(
                pool + target * state_page + tile, state, mask=inside & (target >= 0) & visible
            )
            target_row += write_token
        elif token == TOKENS - 1:
            tl.store(source, state, mask=inside)
        output = tl.sum(query[:, None] * state, 0) * scale
        output = tl.where(visible, output, unseen)
        tl.store(out_row + at_v, output.to(out.dtype.element_ty), mask=in_v)
        q_row += q_token
        k_row += k_token
        v_row += v_token
        out_row += out_token
