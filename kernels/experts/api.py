"""Grouped mixture-of-experts compute: permute, experts, unpermute, and all of it in one call."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .activation import swiglu
from .capacity import over_capacity
from .order import order_slots
from .products import grouped_product
from .rows import collect, spread

FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


class Permuted(NamedTuple):
    """Tokens in the order of their experts. A slot is one choice of one token; M = N·k slots.

    Attributes:
        tokens: ``[M, h]``, rows grouped by expert and by token inside an expert; zero from row
            ``offsets[-1]`` on.
        probabilities: ``[M]``, of the rows; zero from ``offsets[-1]`` on.
        offsets: int32 ``[E]``, the row at which each expert ends.
        row_of: int32 ``[N, k]``, the row of each slot.
        dropped: bool ``[N, k]``, slots without an expert: beyond capacity, or -1 from the start.
    """

    tokens: Tensor
    probabilities: Tensor
    offsets: Tensor
    row_of: Tensor
    dropped: Tensor


def permute(
    tokens: Tensor,
    expert_index: Tensor,
    probabilities: Tensor,
    num_experts: int,
    *,
    capacity: int | Tensor | None = None,
    drop: Literal["probability", "position"] = "probability",
    sequence_ids: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> Permuted:
    """Copy tokens to rows grouped by expert.

    The order is a stable sort by expert: a function of the indices (and, with a capacity, of the
    probabilities' order), the same on every device and layout. Every shape is known from the
    arguments' shapes: dropped slots take the last rows, which hold zeros and which no expert reads.

    Args:
        tokens: ``[N, h]``, bf16, fp16, fp32 or fp64.
        expert_index: int32 or int64 ``[N, k]``, -1 for no expert. On a GPU an index outside
            0 … E-1 counts as -1 and shows in ``dropped``; on a CPU it is an error.
        probabilities: floating ``[N, k]``, any dtype. Taken as they are: nothing is
            renormalised when a slot is dropped.
        num_experts: E.
        capacity: slots that each expert takes of each sequence, or None for all
            (:func:`~kernels.experts.capacity.expert_capacity` computes one from a factor).
        drop: which slots beyond the capacity are dropped: see
            :func:`~kernels.experts.capacity.over_capacity`, also for the next two.
        sequence_ids: integer ``[N]``.
        cu_seqlens: integer ``[S+1]``.

    Raises:
        TypeError, ValueError: for dtypes, shapes or devices that do not fit, before any launch.
    """
    _check_tokens(tokens, expert_index, probabilities, num_experts)
    if capacity is not None:
        over = over_capacity(
            expert_index,
            probabilities,
            num_experts,
            capacity,
            drop=drop,
            sequence_ids=sequence_ids,
            cu_seqlens=cu_seqlens,
        )
        expert_index = expert_index.masked_fill(over, -1)
    row_of, offsets = order_slots(expert_index, num_experts)
    rows, row_probabilities = spread(tokens, probabilities, row_of, offsets)
    assert row_probabilities is not None
    return Permuted(rows, row_probabilities, offsets, row_of, row_of >= offsets[-1])


def experts(
    x: Tensor,
    w_gate_up: Tensor,
    w_down: Tensor,
    offsets: Tensor,
    probabilities: Tensor | None = None,
) -> Tensor:
    """``y[r] = p_r · W_d[e] (SiLU(W_g[e] x_r) ⊙ W_u[e] x_r)`` for the rows r of every expert e.

    The probability is applied before the down projection, inside the activation
    (:mod:`kernels.experts.activation` has the algebra). Gradients go to x, both weights and the
    probabilities.

    Args:
        x: ``[M, h]``, rows grouped by expert.
        w_gate_up: ``[E, 2F, h]``, the gate's F rows first (Hugging Face's fused layout), x's dtype.
        w_down: ``[E, h, F]``, x's dtype.
        offsets: int32 ``[E]``, the row at which each expert ends, not falling. Rows from
            ``offsets[-1]`` on belong to none.
        probabilities: floating ``[M]``, or None for ones.

    Returns:
        ``[M, h]`` in x's dtype. Rows from ``offsets[-1]`` on are undefined on a GPU, may be NaN,
        and are read by nothing here; their gradients are not read either.

    Raises:
        TypeError, ValueError: for dtypes, shapes or devices that do not fit, before any launch.
    """
    _check_weights(x, w_gate_up, w_down)
    num_experts = w_gate_up.shape[0]
    if offsets.shape != (num_experts,) or offsets.dtype != torch.int32:
        raise ValueError(
            f"found offsets {tuple(offsets.shape)} of {offsets.dtype}, expected int32 "
            f"[{num_experts}]: the row at which each expert ends"
        )
    if probabilities is not None and probabilities.shape != (x.shape[0],):
        raise ValueError(
            f"found probabilities {tuple(probabilities.shape)}, expected one for each of the "
            f"{x.shape[0]} rows"
        )
    _check_devices(x, offsets=offsets, probabilities=probabilities)
    gate_up = grouped_product(x, w_gate_up, offsets, False)
    hidden = swiglu(gate_up, probabilities, offsets)
    y: Tensor = grouped_product(hidden, w_down, offsets, False)
    return y


def unpermute(y: Tensor, row_of: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Tensor:
    """``out[t] = Σ_j w[t, j] · y[row_of[t, j]]``: the rows of each token added up.

    The sum runs over the choices in order, in float32, and leaves out dropped slots; a token whose
    slots are all dropped is zero. Gradients go to y and the weights.

    Args:
        y: ``[N·k, h]``, what :func:`experts` gave.
        row_of, offsets: of :class:`Permuted`.
        weights: floating ``[N, k]``, or None for ones (the probabilities are in y already when
            :func:`experts` was given them).

    Returns:
        ``[N, h]`` in y's dtype.

    Raises:
        ValueError: for shapes or devices that do not fit, before any launch.
    """
    if y.ndim != 2 or row_of.ndim != 2 or y.shape[0] != row_of.numel():
        raise ValueError(
            f"found y {tuple(y.shape)} and row_of {tuple(row_of.shape)}, expected [N·k, h] and "
            "[N, k]; take both from the same permute"
        )
    if weights is not None and weights.shape != row_of.shape:
        raise ValueError(
            f"found weights {tuple(weights.shape)}, expected {tuple(row_of.shape)}: one for each "
            "slot"
        )
    _check_devices(y, row_of=row_of, offsets=offsets, weights=weights)
    return collect(y, row_of, offsets, weights)


def grouped_experts(
    x: Tensor,
    expert_index: Tensor,
    probabilities: Tensor,
    w_gate_up: Tensor,
    w_down: Tensor,
    *,
    capacity: int | Tensor | None = None,
    drop: Literal["probability", "position"] = "probability",
    sequence_ids: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``y_t = Σ_j p_{t,j} · W_d[e] (SiLU(W_g[e] x_t) ⊙ W_u[e] x_t)`` with ``e = index[t, j]``.

    Tokens without any expert left give zero. Experts without tokens, one expert with all of them
    and no tokens at all are legal. In bfloat16 on a GPU nothing waits for the device, so the call
    can be captured in a CUDA graph.

    Args:
        x: ``[…, h]``, bf16, fp16, fp32 or fp64.
        expert_index: int32 or int64 ``[…, k]``, the router's choices.
        probabilities: floating ``[…, k]``, their weights, of any dtype.
        w_gate_up: ``[E, 2F, h]``, the gate's F rows first, x's dtype.
        w_down: ``[E, h, F]``, x's dtype.
        capacity, drop, sequence_ids, cu_seqlens: see :func:`permute`; N is the product of the
            leading sizes.

    Returns:
        The output in x's shape and dtype, and the bool mask of dropped slots in expert_index's
        shape. Gradients go to x, the probabilities and both weights.

    Raises:
        TypeError, ValueError: for dtypes, shapes or devices that do not fit, before any launch.

    Source: MiniMax-01 (arXiv:2501.08313) §2.2; SwiGLU, arXiv:2002.05202.
    """
    if x.shape[:-1] != expert_index.shape[:-1]:
        raise ValueError(
            f"found x {tuple(x.shape)} and expert_index {tuple(expert_index.shape)}, expected the "
            "same leading sizes"
        )
    tokens = x.reshape(-1, x.shape[-1])
    index = expert_index.reshape(-1, expert_index.shape[-1])
    _check_weights(tokens, w_gate_up, w_down)
    permuted = permute(
        tokens,
        index,
        probabilities.reshape(-1, probabilities.shape[-1]),
        w_gate_up.shape[0],
        capacity=capacity,
        drop=drop,
        sequence_ids=sequence_ids,
        cu_seqlens=cu_seqlens,
    )
    y = experts(permuted.tokens, w_gate_up, w_down, permuted.offsets, permuted.probabilities)
    out = unpermute(y, permuted.row_of, permuted.offsets)
    return out.view(x.shape), permuted.dropped.view(expert_index.shape)


def _check_devices(first: Tensor, **others: Tensor | None) -> None:
    for name, tensor in others.items():
        if tensor is not None and tensor.device != first.device:
            raise ValueError(
                f"found {name} on {tensor.device}, expected {first.device}, where the tokens are"
            )


def _check_tokens(
    tokens: Tensor, expert_index: Tensor, probabilities: Tensor, num_experts: int
) -> None:
    if tokens.ndim != 2 or tokens.dtype not in FLOATS:
        raise TypeError(
            f"found tokens {tuple(tokens.shape)} of {tokens.dtype}, expected [N, h] of bfloat16, "
            "float16, float32 or float64"
        )
    if expert_index.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"found expert_index of {expert_index.dtype}, expected int32 or int64")
    if not probabilities.dtype.is_floating_point:
        raise TypeError(f"found probabilities of {probabilities.dtype}, expected a floating dtype")
    if (
        expert_index.ndim != 2
        or expert_index.shape[0] != tokens.shape[0]
        or expert_index.shape[1] < 1
        or probabilities.shape != expert_index.shape
    ):
        raise ValueError(
            f"found expert_index {tuple(expert_index.shape)} and probabilities "
            f"{tuple(probabilities.shape)}, expected both [{tokens.shape[0]}, k] with k ≥ 1"
        )
    if num_experts < 1:
        raise ValueError(f"found num_experts={num_experts}, expected 1 or more")
    if expert_index.numel() >= 2**31:
        raise ValueError(
            f"found {expert_index.numel()} slots, expected less than 2^31; split the tokens"
        )
    _check_devices(tokens, expert_index=expert_index, probabilities=probabilities)


def _check_weights(x: Tensor, w_gate_up: Tensor, w_down: Tensor) -> None:
    shapes = f"w_gate_up {tuple(w_gate_up.shape)} and w_down {tuple(w_down.shape)}"
    if w_gate_up.ndim != 3 or w_down.ndim != 3:
        raise ValueError(f"found {shapes}, expected [E, 2F, h] and [E, h, F]")
    experts_, twice, width = w_gate_up.shape
    if x.ndim != 2 or x.shape[1] != width or 2 * w_down.shape[2] != twice:
        raise ValueError(
            f"found {shapes} for x {tuple(x.shape)}, expected [E, 2F, h], [E, h, F] and [M, h]"
        )
    if w_down.shape[:2] != (experts_, width) or experts_ < 1:
        raise ValueError(f"found {shapes}, expected [E, 2F, h] and [E, h, F] with E ≥ 1")
    if not x.dtype == w_gate_up.dtype == w_down.dtype or x.dtype not in FLOATS:
        raise TypeError(
            f"found x of {x.dtype}, w_gate_up of {w_gate_up.dtype} and w_down of {w_down.dtype}, "
            "expected one of bfloat16, float16, float32, float64 for all three"
        )
    _check_devices(x, w_gate_up=w_gate_up, w_down=w_down)
