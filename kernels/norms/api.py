"""RMSNorm, SRMSNorm and the norm of a scaled residual sum, with their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.norms.passes import check, check_dtype, check_eps, passes


def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """RMSNorm over the last dimension: ``y = x / sqrt(mean(x^2) + eps) * gain``.

    Zhang and Sennrich 2019 (arXiv:1910.07467), eq. 4; MiniMax-01 (arXiv:2501.08313) normalises each
    sub-layer with it, eps 1e-5 in the released configuration. One read of x and one write of y; the
    backward reads x and dy once and writes dx once up to a width of 8192, and reads them twice
    beyond. The gain's gradient is summed in a fixed order: the same bits in every run on a machine.

    Args:
        x: ``[..., width]``, bf16, fp16 or fp32. Read in place when the leading dimensions collapse
            to one stride and the last is contiguous, else copied.
        gain: ``[width]`` of any of these dtypes, or None.
        eps: >= 0. With 0, a row of zeros is 0/0 = NaN.

    Returns:
        ``y``, the shape and dtype of x, contiguous, rounded once from fp32. (``transformers``
        rounds twice: before and after the gain.)

    Raises:
        TypeError: for another dtype.
        ValueError: for a gain of another shape or device, no dimension, width 0, or eps < 0.
    """
    width = _width(x)
    check_eps(eps)
    if gain is not None:
        check("gain", gain, x, (width,))
    y: Tensor = _rms_norm(x.reshape(-1, width), gain, eps)[0]
    return y.reshape(x.shape)


def srms_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    """SRMSNorm: ``y = x / sqrt(mean(x^2) + eps)``, RMSNorm without a gain.

    TransNormerLLM (arXiv:2307.14995), section 3.1: ``x / (||x||_2 / sqrt(d))``, there without eps.
    Shapes, dtypes and errors as in ``rms_norm``.
    """
    return rms_norm(x, None, eps)


def add_rms_norm(
    residual: Tensor,
    x: Tensor,
    gain: Tensor | None = None,
    *,
    alpha: float = 1.0,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """``total = alpha * residual + x`` and ``y = rms_norm(total, gain)`` in one pass.

    DeepNorm's residual (arXiv:2203.00555) as MiniMax-01 uses it: alpha = (2 * layers)^0.25, and the
    norm after the sum opens the next sub-layer. ``total`` is rounded to its dtype before the norm,
    so the result is that of the two steps apart, with one read of ``total`` less.

    Args:
        residual, x: ``[..., width]`` of one shape and dtype (bf16, fp16 or fp32).
        gain, eps: as in ``rms_norm``.
        alpha: the residual's factor.

    Returns:
        ``(total, y)``, both of x's shape and dtype, contiguous. Either may stay unused: its
        gradient is then not read.

    Raises:
        TypeError: for another dtype, or two dtypes.
        ValueError: as ``rms_norm``, and for two shapes or an alpha that is not finite.
    """
    width = _width(x)
    check_eps(eps)
    check("residual", residual, x, tuple(x.shape))
    if residual.dtype != x.dtype:
        raise TypeError(f"residual: found {residual.dtype}, expected {x.dtype} as x; cast one")
    if not abs(alpha) < float("inf"):
        raise ValueError(f"alpha: found {alpha}, expected a finite number")
    if gain is not None:
        check("gain", gain, x, (width,))
    total, y, _ = _add_rms_norm(residual.reshape(-1, width), x.reshape(-1, width), gain, alpha, eps)
    return total.reshape(x.shape), y.reshape(x.shape)


def _width(x: Tensor) -> int:
    check_dtype("x", x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x: found shape {tuple(x.shape)}, expected [..., width] with width >= 1")
    return x.shape[-1]


@torch.library.custom_op("leyden::rms_norm", mutates_args=())
def _rms_norm(x: Tensor, gain: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    y, squares, _ = passes(x).forward(
        x, gain, None, None, None, full_width=x.shape[1], alpha=1.0, eps=eps
    )
    return y, squares


@_rms_norm.register_fake
def _(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[0], dtype=torch.float32)


@torch.library.custom_op("leyden::rms_norm_backward", mutates_args=())
def _rms_norm_backward(
    x: Tensor, gain: Tensor | None, wants_gain: bool, dy: Tensor, squares: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    dx, _, _, dgain = passes(x).backward(
        dy,
        x,
        gain,
        None,
        squares,
        None,
        None,
        full_width=x.shape[1],
        alpha=1.0,
        eps=eps,
        wants_gain=wants_gain,
        wants_residual=False,
    )
    return dx, _or_empty(dgain, x)


@_rms_norm_backward.register_fake
def _(x: Tensor, gain: Tensor | None, wants_gain: bool, *_: object) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), _fake_dgain(x, gain, wants_gain)


def _or_empty(tensor: Tensor | None, like: Tensor) -> Tensor:
    """An operator cannot return None: nothing is a tensor without elements."""
    return like.new_empty(0) if tensor is None else tensor


def _fake_dgain(x: Tensor, gain: Tensor | None, wants_gain: bool) -> Tensor:
    return x.new_empty(0) if gain is None or not wants_gain else gain.new_empty(gain.shape)


def _rms_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, gain, ctx.eps = inputs
    ctx.save_for_backward(x, gain, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _rms_norm_gradients(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return None, None, None
    x, gain, squares = ctx.saved_tensors
    wants_gain = gain is not None and ctx.needs_input_grad[1]
    dx, dgain = _rms_norm_backward(x, gain, wants_gain, dy, squares, ctx.eps)
    return dx, dgain if wants_gain else None, None


_rms_norm.register_autograd(_rms_norm_gradients, setup_context=_rms_norm_setup)


@torch.library.custom_op("leyden::add_rms_norm", mutates_args=())
def _add_rms_norm(
    residual: Tensor, x: Tensor, gain: Tensor | None, alpha: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    y, squares, total = passes(x).forward(
        x, gain, None, residual, None, full_width=x.shape[1], alpha=alpha, eps=eps
    )
    return total, y, squares


@_add_rms_norm.register_fake
def _(residual: Tensor, x: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    squares = x.new_empty(x.shape[0], dtype=torch.float32)
    return residual.new_empty(x.shape), x.new_empty(x.shape), squares


@torch.library.custom_op("leyden::add_rms_norm_backward", mutates_args=())
def _add_rms_norm_backward(
    total: Tensor,
    gain: Tensor | None,
    wants_gain: bool,
    alpha: float,
    eps: float,
    dtotal: Tensor | None,
    dy: Tensor,
    squares: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of the residual (none when alpha is 1: it is x's) and of the gain."""
    dx, dresidual, _, dgain = passes(total).backward(
        dy,
        total,
        gain,
        None,
        squares,
        None,
        dtotal,
        full_width=total.shape[1],
        alpha=alpha,
        eps=eps,
        wants_gain=wants_gain,
        wants_residual=alpha != 1.0,
    )
    return dx, _or_empty(dresidual, total), _or_empty(dgain, total)


@_add_rms_norm_backward.register_fake
def _(
    total: Tensor, gain: Tensor | None, wants_gain: bool, alpha: float, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    dresidual = total.new_empty(0 if alpha == 1.0 else total.shape)
    return total.new_empty(total.shape), dresidual, _fake_dgain(total, gain, wants_gain)


def _add_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, _, gain, ctx.alpha, ctx.eps = inputs
    ctx.save_for_backward(output[0], gain, output[2])
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _add_gradients(
    ctx: Any, dtotal: Tensor | None, dy: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    total, gain, squares = ctx.saved_tensors
    if dy is None:  # the norm is unused
        if dtotal is None:
            return None, None, None, None, None
        return ctx.alpha * dtotal, dtotal, None, None, None
    wants_gain = gain is not None and ctx.needs_input_grad[2]
    dx, dresidual, dgain = _add_rms_norm_backward(
        total, gain, wants_gain, ctx.alpha, ctx.eps, dtotal, dy, squares
    )
    dresidual = dx if ctx.alpha == 1.0 else dresidual
    return dresidual, dx, dgain if wants_gain else None, None, None


_add_rms_norm.register_autograd(_add_gradients, setup_context=_add_setup)
