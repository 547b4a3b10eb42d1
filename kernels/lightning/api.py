"""``lightning_attention``: the checks, the choice of form, and the gradient."""

from __future__ import annotations

import torch

from kernels.lightning import reference
from kernels.lightning.carry import carry
from kernels.lightning.pieces import Layout, Pieces, choose_segment, count_pieces, cut
from kernels.lightning.sweep import Operands, sweep
from kernels.triton_support import runs_triton

HEAD_SIZES = (16, 32, 64, 96, 128, 256)
"""Sizes of q and k, and of v, that the kernels take."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def lightning_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    scale: float = 1.0,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Causal linear attention with a fixed decay per head, in time linear in length.

    Per head, with ``λ = exp(-s)``:

        S_t = λ S_{t-1} + k_t v_tᵀ          o_t = scale · q_tᵀ S_t

    MiniMax-01 §2.2.1 with the released code's decay. There is no softmax, no denominator and, by
    default, no ``1/√K``. See :mod:`.states` for which decay the carried state includes.

    On a GPU this launches Triton kernels; on a CPU it is :func:`.reference.chunked`.

    Args:
        q: ``[B, T, H, K]``; k: ``[B, T, Hk, K]``; v: ``[B, T, Hk, V]``: bfloat16, float16 or float32,
            one dtype and device. Any strides are read as they are when the last dimension is
            contiguous (views of a fused projection are), else a copy is made. Hk divides H: head h
            reads k and v of head ``h // (H/Hk)``. K and V: 16, 32, 64, 96, 128 or 256. T from 0.
        slopes: float32 ``[H]``, ``s >= 0``, on the same device. No gradient flows to it.
        initial_state: float32 ``[N, H, K, V]``; N = B, or the number of packed sequences.
        output_final_state: also return the state behind the last token of each sequence.
        cu_seqlens: int32 or int64 ``[N + 1]``, for B = 1: boundaries of sequences packed along T,
            from 0 to T; the state starts anew at each, and sequences may be empty. On a GPU its
            values are not read by the host, so boundaries that fall or do not cover T are found only
            by :func:`check_boundaries`.
        scale: a factor on the output; not on the state.

    Returns:
        ``o [B, T, H, V]`` in q's dtype; with ``output_final_state`` also float32 ``[N, H, K, V]``.
        Gradients flow to q, k, v and ``initial_state``, from both results.

    Raises:
        TypeError: dtypes that do not fit. ValueError: shapes, sizes or devices that do not fit.
    """
    _check(q, k, v, slopes, initial_state, cu_seqlens)
    if not runs_triton(q):
        o, final = reference.chunked(
            q, k, v, slopes, initial_state=initial_state, cu_seqlens=cu_seqlens, scale=scale
        )
        return (o, final) if output_final_state else o
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    o, final, _ = forward(
        q, k, v, slopes, initial_state, cu_seqlens, float(scale), output_final_state
    )
    return (o, final) if output_final_state else o


def check_boundaries(cu_seqlens: torch.Tensor, tokens: int) -> None:
    """Raise ValueError unless ``cu_seqlens`` goes from 0 to ``tokens`` and never falls.

    On a GPU this waits for the values; call it where data is made, not in every layer.
    """
    ends = cu_seqlens.tolist()
    falls = [n for n in range(len(ends) - 1) if ends[n + 1] < ends[n]]
    if ends[0] != 0 or ends[-1] != tokens or falls:
        where = f", falling behind entry {falls[0]}" if falls else ""
        raise ValueError(
            f"found cu_seqlens from {ends[0]} to {ends[-1]}{where}; expected boundaries from 0 to "
            f"T={tokens} that never fall"
        )


@torch.library.custom_op("leyden::lightning_forward", mutates_args=())
def forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    output_final_state: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(o, final state or empty, states at the cuts or empty)``."""
    pieces = _pieces(q, cu_seqlens)
    o, final, carried = _results(q, v, pieces.layout, pieces.count, pieces.cut, output_final_state)
    target = final if output_final_state else None
    if pieces.cut:
        carried = carry(
            k, v, slopes, pieces, cu_seqlens,
            reverse=False, scale=1.0, initial=initial_state, final=target,
        )  # fmt: skip
        target = None
    sweep(
        [Operands(q, k, v, o)], slopes, pieces,
        scale=scale, initial=initial_state, carried=carried if pieces.cut else None, final=target,
    )  # fmt: skip
    return o, final, carried


@forward.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    output_final_state: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    layout = _layout(q, cu_seqlens)
    segment = choose_segment(layout)
    count = count_pieces(layout, segment)
    return _results(q, v, layout, count, segment < layout.tokens, output_final_state)


def _results(
    q: torch.Tensor, v: torch.Tensor, layout: Layout, count: int, is_cut: bool, final: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, tokens, heads, key_size = q.shape
    value_size = v.shape[3]
    floats = {"dtype": torch.float32, "device": q.device}
    return (
        q.new_empty((batch, tokens, heads, value_size)),
        torch.empty((layout.sequences if final else 0, heads, key_size, value_size), **floats),
        torch.empty((count if is_cut else 0, heads, key_size, value_size), **floats),
    )


@torch.library.custom_op("leyden::lightning_backward", mutates_args=())
def backward(
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
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(dq, dk, dv, d_initial or empty)``; dk and dv per head of q, float32 when heads share k, v."""
    pieces = _pieces(q, cu_seqlens)
    dq, dk, dv, d_initial = _gradients(q, k, v, initial_state)
    target = d_initial if initial_state is not None else None
    d_carried = None
    if pieces.cut:
        d_carried = carry(
            q, do, slopes, pieces, cu_seqlens,
            reverse=True, scale=scale, initial=d_final, final=target,
        )  # fmt: skip
        target = None
    sweep(
        [Operands(do, v, k, dq)], slopes, pieces,
        scale=scale,
        initial=None if initial_state is None else initial_state.mT,
        carried=carried.mT if pieces.cut else None,
    )  # fmt: skip
    sweep(
        [Operands(k, q, do, dv), Operands(v, do, q, dk)], slopes, pieces,
        reverse=True, scale=scale, initial=d_final, carried=d_carried, final=target,
    )  # fmt: skip
    return dq, dk, dv, d_initial


@backward.register_fake
def _(
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
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return _gradients(q, k, v, initial_state)


def _gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, initial_state: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, tokens, heads, key_size = q.shape
    dtype = q.dtype if k.shape[2] == heads else torch.float32
    state = (0,) if initial_state is None else tuple(initial_state.shape)
    return (
        q.new_empty((batch, tokens, heads, key_size)),
        q.new_empty((batch, tokens, heads, key_size), dtype=dtype),
        q.new_empty((batch, tokens, heads, v.shape[3]), dtype=dtype),
        torch.empty(state, dtype=torch.float32, device=q.device),
    )


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple) -> None:  # type: ignore[type-arg]
    q, k, v, slopes, initial_state, cu_seqlens, scale, output_final_state = inputs
    ctx.save_for_backward(q, k, v, slopes, initial_state, output[2], cu_seqlens)
    ctx.scale, ctx.output_final_state = scale, output_final_state  # type: ignore[attr-defined]
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: torch.autograd.function.FunctionCtx,
    do: torch.Tensor | None,
    d_final: torch.Tensor | None,
    d_carried: torch.Tensor | None,
) -> tuple[torch.Tensor | None, ...]:
    q, k, v, slopes, initial_state, carried, cu_seqlens = ctx.saved_tensors  # type: ignore[attr-defined]
    if do is None and d_final is None:
        return (None,) * 8
    if do is None:
        do = q.new_zeros((*q.shape[:3], v.shape[3]))
    do = do if do.stride(-1) == 1 else do.contiguous()
    if not ctx.output_final_state:  # type: ignore[attr-defined]
        d_final = None
    dq, dk, dv, d_initial = backward(
        do, d_final, q, k, v, slopes, initial_state, carried, cu_seqlens, ctx.scale  # type: ignore[attr-defined]
    )
    shared = k.shape[2]
    if shared != q.shape[2]:
        dk, dv = (
            x.unflatten(2, (shared, q.shape[2] // shared)).sum(3).to(k.dtype) for x in (dk, dv)
        )
    return dq, dk, dv, None, d_initial if initial_state is not None else None, None, None, None


forward.register_autograd(_differentiate, setup_context=_save)


def _layout(q: torch.Tensor, cu_seqlens: torch.Tensor | None) -> Layout:
    batch, tokens, heads, _ = q.shape
    if cu_seqlens is None:
        return Layout(batch, tokens, heads, False)
    return Layout(cu_seqlens.shape[0] - 1, tokens, heads, True)


def _pieces(q: torch.Tensor, cu_seqlens: torch.Tensor | None) -> Pieces:
    layout = _layout(q, cu_seqlens)
    return cut(layout, choose_segment(layout), cu_seqlens)


def _check(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
) -> None:
    """Everything that can be told without reading values."""
    named = {"q": q, "k": k, "v": v, "slopes": slopes}
    if initial_state is not None:
        named["initial_state"] = initial_state
    if cu_seqlens is not None:
        named["cu_seqlens"] = cu_seqlens
    for name, x in named.items():
        if x.device != q.device:
            raise ValueError(f"found {name} on {x.device} and q on {q.device}; expected one device")
    for name in ("q", "k", "v"):
        x = named[name]
        if x.dim() != 4:
            raise ValueError(f"found {name} {list(x.shape)}; expected [B, T, heads, head size]")
        if x.dtype not in DTYPES or x.dtype != q.dtype:
            raise TypeError(
                f"found {name} of {x.dtype} and q of {q.dtype}; expected bfloat16, float16 or "
                "float32, the same for all"
            )
    batch, tokens, heads, key_size = q.shape
    if k.shape[:3] != v.shape[:3] or k.shape[:2] != q.shape[:2] or k.shape[3] != key_size:
        raise ValueError(
            f"found q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}; "
            "expected [B, T, H, K], [B, T, Hk, K], [B, T, Hk, V]"
        )
    if heads < 1 or k.shape[2] < 1 or heads % k.shape[2]:
        raise ValueError(
            f"found {heads} heads of q and {k.shape[2]} of k and v; expected a multiple"
        )
    for name, size in (("q and k", key_size), ("v", v.shape[3])):
        if runs_triton(q) and size not in HEAD_SIZES:
            raise ValueError(
                f"found head size {size} of {name}; the kernels take "
                f"{', '.join(map(str, HEAD_SIZES))}: pad with zeros to the next"
            )
    if slopes.shape != (heads,) or slopes.dtype != torch.float32:
        raise ValueError(
            f"found slopes {list(slopes.shape)} of {slopes.dtype}; expected float32 [{heads}]"
        )
    sequences = batch
    if cu_seqlens is not None:
        if cu_seqlens.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"found cu_seqlens of {cu_seqlens.dtype}; expected int32 or int64")
        if cu_seqlens.dim() != 1 or len(cu_seqlens) < 2 or batch != 1:
            raise ValueError(
                f"found cu_seqlens {list(cu_seqlens.shape)} and a batch of {batch}; expected "
                "[N + 1] with N >= 1 and a batch of 1: pack sequences along T"
            )
        sequences = len(cu_seqlens) - 1
        if cu_seqlens.device.type == "cpu":
            check_boundaries(cu_seqlens, tokens)
    expected = (sequences, heads, key_size, v.shape[3])
    if initial_state is not None:
        if initial_state.shape != expected:
            raise ValueError(
                f"found initial_state {list(initial_state.shape)}; expected {list(expected)}"
            )
        if initial_state.dtype != torch.float32:
            raise TypeError(f"found initial_state of {initial_state.dtype}; expected float32")
