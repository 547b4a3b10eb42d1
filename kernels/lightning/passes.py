"""The forward and the backward pass on a GPU or interpreted, as sweeps and the states at cuts.

The operators of :mod:`.api` and :mod:`.fused` differ in where q, k, v and their gradients lie; what
is launched between them is here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from kernels.lightning.checks import check_boundaries
from kernels.lightning.pieces import Layout, Pieces, choose_segment, count_pieces, cut


class Results(NamedTuple):
    """``o [B, T, H, V]``, and float32 ``[N, H, K, V]`` and ``[cuts, H, K, V]``, or empty.

    ``final``: the states behind the sequences. ``carried``: those at the cuts between pieces.
    """

    o: torch.Tensor
    final: torch.Tensor
    carried: torch.Tensor


class Gradients(NamedTuple):
    """``q [B, T, H, K]``, ``k [B, T, H, K]``, ``v [B, T, H, V]``, last dimensions contiguous.

    They are per head of q, also where heads share k and v. ``initial`` float32 ``[N, H, K, V]``, or
    empty where there was no initial state.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    initial: torch.Tensor


def empty_results(
    q: torch.Tensor, v: torch.Tensor, cu_seqlens: torch.Tensor | None, output_final_state: bool
) -> Results:
    """Tensors that :func:`attend` fills, from shapes alone."""
    layout = _layout(q, cu_seqlens)
    segment = choose_segment(layout)
    batch, tokens, heads, key_size = q.shape
    value_size = v.shape[3]
    state = (heads, key_size, value_size)
    sequences = layout.sequences if output_final_state else 0
    cuts = count_pieces(layout, segment) - layout.sequences
    return Results(
        q.new_empty((batch, tokens, heads, value_size)),
        q.new_empty((sequences, *state), dtype=torch.float32),
        q.new_empty((cuts, *state), dtype=torch.float32),
    )


def empty_gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, initial_state: torch.Tensor | None
) -> Gradients:
    """Tensors that :func:`differentiate` fills.

    Where heads share k and v, those of float16 are float32: their sum over heads is rounded once.
    bfloat16 has the range of float32, its kernels for Hopper write nothing else, and what rounding
    each head adds is no more than what rounding the sum does.
    """
    batch, tokens, heads, key_size = q.shape
    rounded = k.shape[2] == heads or q.dtype == torch.bfloat16
    dtype = q.dtype if rounded else torch.float32
    return Gradients(
        q.new_empty((batch, tokens, heads, key_size)),
        q.new_empty((batch, tokens, heads, key_size), dtype=dtype),
        q.new_empty((batch, tokens, heads, v.shape[3]), dtype=dtype),
        empty_initial(q, initial_state),
    )


def empty_initial(q: torch.Tensor, initial_state: torch.Tensor | None) -> torch.Tensor:
    """The gradient of the initial state, to be filled; empty where there is none."""
    shape = (0,) if initial_state is None else tuple(initial_state.shape)
    return q.new_empty(shape, dtype=torch.float32)


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    output_final_state: bool,
    activation: bool,
) -> Results:
    """The forward pass; arguments as in :func:`.api.lightning_attention`, ``activation``: SiLU."""
    from kernels.lightning.carry import carry
    from kernels.lightning.sweep import Operands, sweep

    if cu_seqlens is not None and not cu_seqlens.is_cuda:
        check_boundaries(cu_seqlens, q.shape[1])
    pieces = _pieces(q, cu_seqlens)
    o, final, carried = empty_results(q, v, cu_seqlens, output_final_state)
    target = final if output_final_state else None
    if pieces.cut:
        carried = carry(
            k, v, slopes, pieces, cu_seqlens,
            reverse=False, scale=1.0, initial=initial_state, final=target,
            activated=(activation, activation),
        )  # fmt: skip
        target = None
    sweep(
        [Operands(q, k, v, o, (activation, activation, activation))], slopes, pieces,
        scale=scale, initial=initial_state, carried=carried if pieces.cut else None, final=target,
    )  # fmt: skip
    return Results(o, final, carried)


def differentiate(
    do: torch.Tensor,
    d_final: torch.Tensor | None,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    carried: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    activation: bool,
    into: Gradients,
) -> None:
    """The backward pass: fills ``into`` with the gradients of q, k and v as they are given.

    With ``activation`` their SiLU is computed again from them, and nothing of it was kept.
    """
    from kernels.lightning.carry import carry
    from kernels.lightning.sweep import Operands, sweep

    pieces = _pieces(q, cu_seqlens)
    target = into.initial if initial_state is not None else None
    d_carried = None
    if pieces.cut:
        d_carried = carry(
            q, do, slopes, pieces, cu_seqlens,
            reverse=True, scale=scale, initial=d_final, final=target,
            activated=(activation, False),
        )  # fmt: skip
        target = None
    silu = activation
    raw_q, raw_k, raw_v = (q, k, v) if silu else (None, None, None)
    sweep(
        [Operands(do, v, k, into.q, (False, silu, silu), raw_q)], slopes, pieces,
        scale=scale,
        initial=None if initial_state is None else initial_state.mT,
        carried=carried.mT if pieces.cut else None,
    )  # fmt: skip
    dv = Operands(k, q, do, into.v, (silu, silu, False), raw_v)
    dk = Operands(v, do, q, into.k, (silu, False, silu), raw_k)
    sweep(
        [dv, dk], slopes, pieces,
        reverse=True, scale=scale, initial=d_final, carried=d_carried, final=target,
    )  # fmt: skip


def readable(do: torch.Tensor | None, q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The cotangent of o as the backward pass reads it: its last dimension contiguous, or zeros."""
    if do is None:
        return q.new_zeros((*q.shape[:3], v.shape[3]))
    return do if do.stride(-1) == 1 else do.contiguous()


def refuse_second_derivative(*_: object) -> None:
    """The derivative of a backward pass."""
    raise RuntimeError(
        "found a second derivative of lightning_attention, expected first ones only; for more, "
        "take kernels.lightning.reference.chunked"
    )


def _layout(q: torch.Tensor, cu_seqlens: torch.Tensor | None) -> Layout:
    batch, tokens, heads, _ = q.shape
    if cu_seqlens is None:
        return Layout(batch, tokens, heads, False)
    return Layout(cu_seqlens.shape[0] - 1, tokens, heads, True)


def _pieces(q: torch.Tensor, cu_seqlens: torch.Tensor | None) -> Pieces:
    layout = _layout(q, cu_seqlens)
    return cut(layout, choose_segment(layout), cu_seqlens)
