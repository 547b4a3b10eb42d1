"""``lightning_attention_qkv``: attention of a fused projection, whose gradient is one tensor."""

from __future__ import annotations

from typing import Any

import torch

from kernels.lightning import passes
from kernels.lightning.api import lightning_attention
from kernels.lightning.checks import check
from kernels.triton_support import runs_triton


def lightning_attention_qkv(
    qkv: torch.Tensor,
    slopes: torch.Tensor,
    *,
    key_size: int | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    scale: float = 1.0,
    activation: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """:func:`.api.lightning_attention` of the q, k and v that lie side by side in every head.

    They are read where they are, and the backward pass writes their gradients where those belong
    in the one of qkv: nothing is cut out, copied or put together. Values and gradients have the
    bits of ``lightning_attention(*qkv.split((K, K, V), 3), ...)``.

    Args:
        qkv: ``[B, T, H, 2K + V]``: per head first q, then k, then v, as ``qkv_proj`` of
            MiniMax-Text-01 (``modeling_minimax_text_01.py``) has its rows. Any strides are read as
            they are when the last dimension is contiguous, else a copy is made.
        key_size: K; when left out, K = V is a third of the last dimension.

    The other arguments, the results and the errors are those of ``lightning_attention``, with a
    state for each of the H heads.

    Raises:
        TypeError: dtypes that do not fit.
        ValueError: no four dimensions, a last one that has no such parts, and what
            ``lightning_attention`` refuses.
        RuntimeError: when a second derivative is asked for, on a GPU.
    """
    size = _key_size(qkv, key_size)
    q, k, v = _parts(qkv, size)
    if not (runs_triton(qkv) or qkv.is_meta):
        return lightning_attention(
            q, k, v, slopes,
            initial_state=initial_state, output_final_state=output_final_state,
            cu_seqlens=cu_seqlens, scale=scale, activation=activation,
        )  # fmt: skip
    check(q, k, v, slopes, initial_state, cu_seqlens, activation)
    o, final, _ = forward(
        qkv if qkv.stride(-1) == 1 else qkv.contiguous(),
        slopes.contiguous(),
        initial_state,
        None if cu_seqlens is None else cu_seqlens.contiguous(),
        size,
        float(scale),
        output_final_state,
        activation is not None,
    )
    return (o, final) if output_final_state else o


def _key_size(qkv: torch.Tensor, key_size: int | None) -> int:
    if qkv.dim() != 4:
        raise ValueError(f"found qkv {list(qkv.shape)}; expected [B, T, H, 2K + V]")
    whole = qkv.shape[3]
    if key_size is None:
        if whole % 3:
            raise ValueError(
                f"found {whole} columns of qkv; expected a multiple of 3, or key_size to say "
                "how many are q"
            )
        return whole // 3
    if key_size < 1 or 2 * key_size >= whole:
        raise ValueError(
            f"found key_size={key_size} and {whole} columns of qkv; expected 2K + V, with "
            "K >= 1 and V >= 1"
        )
    return key_size


def _parts(x: torch.Tensor, key_size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views of q, k and v, or of their gradients."""
    return x[..., :key_size], x[..., key_size : 2 * key_size], x[..., 2 * key_size :]


@torch.library.custom_op("leyden::lightning_qkv_forward", mutates_args=())
def forward(
    qkv: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    key_size: int,
    scale: float,
    output_final_state: bool,
    activation: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As :func:`.api.forward`."""
    q, k, v = _parts(qkv, key_size)
    return passes.attend(
        q, k, v, slopes, initial_state, cu_seqlens, scale, output_final_state, activation
    )


@forward.register_fake
def _(
    qkv: torch.Tensor, _slopes: torch.Tensor, *rest: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _, cu_seqlens, key_size, _, output_final_state, _ = rest
    q, _, v = _parts(qkv, key_size)
    return passes.empty_results(q, v, cu_seqlens, output_final_state)


@torch.library.custom_op("leyden::lightning_qkv_backward", mutates_args=())
def backward(
    do: torch.Tensor,
    d_final: torch.Tensor | None,
    qkv: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    carried: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    key_size: int,
    scale: float,
    activation: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(gradient of qkv, gradient of the initial state or empty)``."""
    d_qkv, d_initial = _empty_gradients(qkv, initial_state)
    into = passes.Gradients(*_parts(d_qkv, key_size), d_initial)
    q, k, v = _parts(qkv, key_size)
    passes.differentiate(
        do, d_final, q, k, v, slopes, initial_state, carried, cu_seqlens, scale, activation, into
    )
    return d_qkv, d_initial


@backward.register_fake
def _(
    _do: torch.Tensor, _final: torch.Tensor | None, *rest: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    qkv, _, initial_state, *_ = rest
    return _empty_gradients(qkv, initial_state)


def _empty_gradients(
    qkv: torch.Tensor, initial_state: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    return qkv.new_empty(qkv.shape), passes.empty_initial(qkv, initial_state)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    qkv, slopes, initial_state, cu_seqlens, key_size, scale, output_final_state, silu = inputs
    ctx.save_for_backward(qkv, slopes, initial_state, output[2], cu_seqlens)
    ctx.key_size, ctx.scale, ctx.output_final_state = key_size, scale, output_final_state
    ctx.activation = silu
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, do: torch.Tensor | None, d_final: torch.Tensor | None, _: torch.Tensor | None
) -> tuple[torch.Tensor | None, ...]:
    qkv, slopes, initial_state, carried, cu_seqlens = ctx.saved_tensors
    if not ctx.output_final_state:
        d_final = None
    if do is None and d_final is None:
        return (None,) * 8
    q, _, v = _parts(qkv, ctx.key_size)
    d_qkv, d_initial = backward(
        passes.readable(do, q, v), d_final, qkv, slopes, initial_state, carried, cu_seqlens,
        ctx.key_size, ctx.scale, ctx.activation,
    )  # fmt: skip
    return d_qkv, None, d_initial if initial_state is not None else None, *(None,) * 5


forward.register_autograd(_differentiate, setup_context=_save)
backward.register_autograd(passes.refuse_second_derivative)
