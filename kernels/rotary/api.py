"""Rotary position embedding of queries and keys in one launch, with its gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from kernels.norms.passes import check_dtype
from kernels.rotary import reference
from kernels.triton_support import runs_triton


def rotary(
    q: Tensor,
    k: Tensor,
    *,
    rotary_dim: int | None = None,
    base: float = 10_000.0,
    positions: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rotate the first ``rotary_dim`` features of each head by their token's position.

        angle_j = position * base^(-2 j / rotary_dim)          j < rotary_dim / 2
        y[j]                  = x[j] * cos(angle_j) - x[j + rotary_dim / 2] * sin(angle_j)
        y[j + rotary_dim / 2] = x[j + rotary_dim / 2] * cos(angle_j) + x[j] * sin(angle_j)

    Su et al. 2021 (arXiv:2104.09864) in the pairing of GPT-NeoX, j with j + rotary_dim / 2: the
    released MiniMax-01 weights have it (``rotate_half`` in transformers' ``minimax``, and
    ``is_neox_style=True`` with ``rotary_dim`` in vLLM's ``minimax_text_01``). MiniMax-01
    (arXiv:2501.08313, section 2) rotates 64 of 128, in its softmax layers only, with base 10^4 at
    first and 5 * 10^6, then 10^7 for longer contexts. transformers rotates all 128.

    cos and sin are accurate to 3e-7 at positions up to 10^7, in every dtype: angles are counted in
    64-bit fractions of a turn on the GPU, in float64 on the CPU, and no table is read.
    (With angles in fp32, as transformers has them, the worst of 64 features is 0.3 radians off
    there.)
    The backward is the inverse rotation: nothing but the positions is saved. There is no in-place
    form: under autograd it would overwrite the output of the projection.

    Args:
        q: ``[B, T, H, D]``, bf16, fp16 or fp32; any strides, so slices of a fused projection are
            read in place (copied only if the last dimension is not contiguous).
        k: ``[B, T, Hk, D]`` of q's dtype and device.
        rotary_dim: even, at most D; D when None. The other features are copied.
        base: at least 1.
        positions: int32 or int64, ``[T]`` or ``[B, T]``. When None, 0 .. T - 1, or what
            ``cu_seqlens`` says.
        cu_seqlens: int32 or int64 ``[N + 1]`` from 0 to T, with B = 1: boundaries of packed
            sequences; positions start at 0 in each. See ``positions_of``, whose result may be
            made once and passed to all layers.

    Returns:
        rotated q and k, of their shapes and dtypes, contiguous.

    Raises:
        TypeError: for another dtype.
        ValueError: for shapes, devices or numbers that do not fit, or positions given twice.
    """
    _check(q, k)
    head = q.shape[3]
    rotary_dim = head if rotary_dim is None else rotary_dim
    if rotary_dim % 2 or not 0 < rotary_dim <= head:
        raise ValueError(f"rotary_dim: found {rotary_dim}, expected an even number in 2 .. {head}")
    if not 1.0 <= base < float("inf"):
        raise ValueError(f"base: found {base}, expected a finite number >= 1, such as 10000")
    where = _positions(q, positions, cu_seqlens)
    rotated: tuple[Tensor, Tensor] = _rotary(q, k, where, rotary_dim, float(base), False)
    return rotated


def positions_of(cu_seqlens: Tensor, tokens: int) -> Tensor:
    """int64 ``[tokens]``: each token's place in its sequence, from ``cu_seqlens`` ``[N + 1]``.

    Empty sequences are legal. The boundaries are checked when they lie on the CPU; on a GPU they
    are taken at their word, because a look would wait for the GPU.

    Raises:
        TypeError: unless int32 or int64.
        ValueError: unless one-dimensional, and ascending from 0 to ``tokens`` (CPU).
    """
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"cu_seqlens: found {cu_seqlens.dtype}, expected int32 or int64")
    if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 1:
        raise ValueError(f"cu_seqlens: found shape {tuple(cu_seqlens.shape)}, expected [N + 1]")
    if cu_seqlens.device.type == "cpu" and not torch.compiler.is_compiling():
        bounds = cu_seqlens.tolist()
        if bounds[0] != 0 or bounds[-1] != tokens or bounds != sorted(bounds):
            raise ValueError(
                f"cu_seqlens: found {bounds[0]} .. {bounds[-1]}"
                f"{'' if bounds == sorted(bounds) else ', not ascending'}, expected boundaries "
                f"ascending from 0 to {tokens}"
            )
    token = torch.arange(tokens, device=cu_seqlens.device)
    bounds64 = cu_seqlens.long()
    return token - bounds64[torch.searchsorted(bounds64, token, right=True) - 1]


def _check(q: Tensor, k: Tensor) -> None:
    check_dtype("q", q)
    if k.dtype != q.dtype:
        raise TypeError(f"k: found {k.dtype}, expected {q.dtype} as q; cast one")
    if q.ndim != 4 or k.ndim != 4 or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"found q {tuple(q.shape)} and k {tuple(k.shape)}, expected [B, T, H, D] and "
            "[B, T, Hk, D]"
        )
    if k.device != q.device:
        raise ValueError(f"k: found device {k.device}, expected {q.device}; move it there")


def _positions(q: Tensor, positions: Tensor | None, cu_seqlens: Tensor | None) -> Tensor:
    """Positions ``[B, T]`` on q's device."""
    batch, tokens = q.shape[:2]
    if cu_seqlens is not None:
        if positions is not None:
            raise ValueError("found positions and cu_seqlens, expected one of them")
        if batch != 1:
            raise ValueError(f"q: found batch {batch} with cu_seqlens, expected 1 (packed)")
        positions = positions_of(cu_seqlens, tokens)
    elif positions is None:
        positions = torch.arange(tokens, device=q.device)
    if positions.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"positions: found {positions.dtype}, expected int32 or int64")
    if tuple(positions.shape) not in ((tokens,), (batch, tokens)):
        raise ValueError(
            f"positions: found shape {tuple(positions.shape)}, expected {(tokens,)} or "
            f"{(batch, tokens)}"
        )
    if positions.device != q.device:
        raise ValueError(
            f"positions: found device {positions.device}, expected {q.device}; move them there"
        )
    return positions.expand(batch, tokens)


@torch.library.custom_op("leyden::rotary", mutates_args=())
def _rotary(
    q: Tensor, k: Tensor, positions: Tensor, rotary_dim: int, base: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    if q.numel() and k.numel() and runs_triton(q):
        # Triton has no wheel for every platform, so it is imported where it is used.
        from kernels.rotary.launch import rotate

        return rotate(q, k, positions, rotary_dim, math.log2(base), inverse)
    angle = reference.angles(positions, rotary_dim, base)[:, :, None]
    cos, sin = angle.cos().float(), angle.sin().float()
    sin = -sin if inverse else sin
    return _rotate(q, cos, sin), _rotate(k, cos, sin)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x ``[B, T, H, D]`` rotated by fp32 ``[B, T, 1, rotary_dim / 2]``, in plain torch."""
    half = cos.shape[-1]
    first, second = x[..., :half].float(), x[..., half : 2 * half].float()
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    y[..., :half] = first * cos - second * sin
    y[..., half : 2 * half] = second * cos + first * sin
    y[..., 2 * half :] = x[..., 2 * half :]
    return y


@_rotary.register_fake
def _(q: Tensor, k: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG001
    _, _, positions, ctx.rotary_dim, ctx.base, ctx.inverse = inputs
    ctx.save_for_backward(positions)


def _gradients(ctx: Any, dq: Tensor, dk: Tensor) -> tuple[Tensor | None, ...]:
    (positions,) = ctx.saved_tensors
    dq, dk = _rotary(dq, dk, positions, ctx.rotary_dim, ctx.base, not ctx.inverse)
    return dq, dk, None, None, None, None


_rotary.register_autograd(_gradients, setup_context=_setup)
