"""``lightning_attention``: the choice of form, and the operators that torch differentiates."""

from __future__ import annotations

from typing import Any

import torch

from kernels.lightning import passes, reference
from kernels.lightning.checks import check
from kernels.triton_support import runs_triton


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
    activation: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Causal linear attention with a fixed decay per head, in time linear in length.

    Per head, with ``λ = exp(-s)``:

        S_t = λ S_{t-1} + k_t v_tᵀ          o_t = scale · q_tᵀ S_t

    MiniMax-01 §2.2.1 with the released code's decay. There is no softmax, no denominator and, by
    default, no ``1/√K``. See :mod:`.states` for which decay the carried state includes.
    With ``activation="silu"``, as in the released model, q, k and v above are SiLU of those given:
    ``x / (1 + e^-x)``, computed in float32 as a tile is read and rounded to its dtype. It is not
    kept for the backward pass but computed again, and gradients are those of what was given.

    On a GPU this launches Triton kernels; on a CPU it is :func:`.reference.chunked`. Under autocast
    nothing is cast: the result has the dtype of the inputs, and sums are float32. There is no
    second derivative.

    A NaN or Inf never reaches another sequence. In its own it reaches the outputs behind it, and
    may reach those before it in its tile of up to 64 tokens. Where a long sequence is cut
    (:mod:`.pieces`) the state at the cut leaves out tokens that have decayed below 2^-24
    (:mod:`.horizon`), and so a NaN among them.

    Args:
        q: ``[B, T, H, K]``; k: ``[B, T, Hk, K]``; v: ``[B, T, Hk, V]``: bfloat16, float16 or
            float32, one dtype and device. Any strides are read as they are when the last dimension
            is contiguous (views of a fused projection are), else a copy is made. Hk divides H: head
            h reads k and v of head ``h // (H/Hk)``. K and V: 16, 32, 64, 96, 128 or 256 (on a CPU
            any). T from 0.
        slopes: float32 ``[H]``, finite, ``s >= 0``, on the same device. No gradient flows to it.
        initial_state: float32 ``[N, H, K, V]``; N = B, or the number of packed sequences.
        output_final_state: also return the state behind the last token of each sequence.
        cu_seqlens: int32 or int64 ``[N + 1]``, for B = 1: boundaries of sequences packed along T,
            from 0 to T; the state starts anew at each, and sequences may be empty. On a GPU its
            values are not read by the host: of boundaries that fall or do not cover T the results
            are arbitrary, and only :func:`.checks.check_boundaries` tells.
        scale: a factor on the output; not on the state.
        activation: None or "silu".

    Returns:
        ``o [B, T, H, V]`` in q's dtype; with ``output_final_state`` also float32 ``[N, H, K, V]``.
        Gradients flow to q, k, v and ``initial_state``, from both results.

    Raises:
        TypeError: dtypes that do not fit.
        ValueError: shapes, sizes or devices that do not fit, an unknown activation; on a CPU also
            boundaries that fall or do not cover T.
        RuntimeError: when a second derivative is asked for, on a GPU.
    """
    check(q, k, v, slopes, initial_state, cu_seqlens, activation)
    if not (runs_triton(q) or q.is_meta):
        with torch.autocast(q.device.type, enabled=False):
            o, final = reference.chunked(
                q, k, v, slopes,
                initial_state=initial_state, cu_seqlens=cu_seqlens, scale=scale,
                activation=activation,
            )  # fmt: skip
        return (o, final) if output_final_state else o
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    slopes = slopes.contiguous()
    cu_seqlens = None if cu_seqlens is None else cu_seqlens.contiguous()
    o, final, _ = forward(
        q, k, v, slopes, initial_state, cu_seqlens, float(scale), output_final_state,
        activation is not None,
    )  # fmt: skip
    return (o, final) if output_final_state else o


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
    activation: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(o, final state or empty, states at the cuts or empty)``; ``activation``: SiLU."""
    return passes.attend(
        q, k, v, slopes, initial_state, cu_seqlens, scale, output_final_state, activation
    )


@forward.register_fake
def _(
    q: torch.Tensor, _k: torch.Tensor, v: torch.Tensor, *rest: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    *_, cu_seqlens, _, output_final_state, _ = rest
    return passes.empty_results(q, v, cu_seqlens, output_final_state)


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
    activation: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(dq, dk, dv, d_initial or empty)``; dk and dv per head of q: :class:`.passes.Gradients`."""
    found = passes.empty_gradients(q, k, v, initial_state)
    passes.differentiate(
        do, d_final, q, k, v, slopes, initial_state, carried, cu_seqlens, scale, activation, found
    )
    return found


@backward.register_fake
def _(
    _do: torch.Tensor, _final: torch.Tensor | None, *rest: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    q, k, v, _, initial_state, *_ = rest
    return passes.empty_gradients(q, k, v, initial_state)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    q, k, v, slopes, initial_state, cu_seqlens, scale, output_final_state, activation = inputs
    ctx.save_for_backward(q, k, v, slopes, initial_state, output[2], cu_seqlens)
    ctx.scale, ctx.output_final_state, ctx.activation = scale, output_final_state, activation
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, do: torch.Tensor | None, d_final: torch.Tensor | None, _: torch.Tensor | None
) -> tuple[torch.Tensor | None, ...]:
    q, k, v, slopes, initial_state, carried, cu_seqlens = ctx.saved_tensors
    if not ctx.output_final_state:
        d_final = None
    if do is None and d_final is None:
        return (None,) * 9
    dq, dk, dv, d_initial = backward(
        passes.readable(do, q, v), d_final, q, k, v, slopes, initial_state, carried, cu_seqlens,
        ctx.scale, ctx.activation,
    )  # fmt: skip
    shared = k.shape[2]
    if shared != q.shape[2]:
        dk, dv = (
            x.unflatten(2, (shared, q.shape[2] // shared)).sum(3, dtype=torch.float32).to(k.dtype)
            for x in (dk, dv)
        )
    return dq, dk, dv, None, d_initial if initial_state is not None else None, *(None,) * 4


forward.register_autograd(_differentiate, setup_context=_save)
backward.register_autograd(passes.refuse_second_derivative)
