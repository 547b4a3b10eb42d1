"""The operators as torch sees them: opaque to torch.compile, with fake forms and autograd.

``leyden::linear_statistics`` makes statistics, and its backward makes the logits again: gradients
are right for any cotangent, at four products of N·V·H. ``leyden::linear_total`` makes the sum of
the losses and, knowing each token's weight, both gradients of that sum in the same pass: three
products. What it does not know yet is one number, the sum's cotangent; backward multiplies by it.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels.cross_entropy import rows
from kernels.cross_entropy.linear import Head, head_gradients, head_statistics, unit
from kernels.cross_entropy.losses import Terms
from kernels.cross_entropy.parallel import Shard
from kernels.cross_entropy.rows import Curve


def _check_targets(targets: torch.Tensor, seen: torch.Tensor, vocabulary: int) -> None:
    """Refuse targets outside the vocabulary: now on a CPU; on a GPU when the device gets there."""
    wrong = seen & ((targets < 0) | (targets >= vocabulary))
    if targets.device.type == "cpu":
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0, 0])
            raise ValueError(
                f"targets: found {int(targets[at])} at token {at}, expected 0..{vocabulary - 1} or "
                "ignore_index; mask padding with ignore_index, or check the tokenizer"
            )
        return
    torch._assert_async(
        ~wrong.any(),
        f"cross_entropy: a target is neither in 0..{vocabulary - 1} nor ignore_index",
    )


def _no_autocast(tensor: torch.Tensor) -> torch.autocast:
    """Products here are in the tensors' own dtypes, whatever autocast is on around the call."""
    return torch.autocast(tensor.device.type, enabled=False)


@torch.library.custom_op("leyden::logit_statistics", mutates_args=())
def logit_statistics(
    logits: torch.Tensor,
    targets: torch.Tensor,
    ignore_index: int,
    scale: float,
    cap: float,
    totals: bool,
    group: str,
) -> torch.Tensor:
    """Statistics float32 [3, N] of ``logits`` [N, V'] (last dimension contiguous)."""
    shard, columns = Shard.of(group), logits.shape[1]
    _check_targets(targets, targets != ignore_index, columns * shard.ranks)
    local = rows.statistics(logits, targets, Curve(scale, cap), shard.rank * columns, totals)
    return shard.gathered(local)


@logit_statistics.register_fake
def _(logits: torch.Tensor, *_: Any) -> torch.Tensor:
    return logits.new_empty(3, logits.shape[0], dtype=torch.float32)


@torch.library.custom_op("leyden::logit_gradient", mutates_args=())
def logit_gradient(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lse: torch.Tensor,
    cotangents: torch.Tensor,
    ignore_index: int,
    scale: float,
    cap: float,
    group: str,
) -> torch.Tensor:
    """Gradient of ``logits``, in their dtype, from cotangents [3, N] of their statistics."""
    out = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    given = torch.where(targets != ignore_index, cotangents * scale, 0.0)
    first = Shard.of(group).rank * logits.shape[1]
    rows.gradient(logits, targets, lse, given, Curve(scale, cap), first, out)
    return out


@logit_gradient.register_fake
def _(logits: torch.Tensor, *_: Any) -> torch.Tensor:
    return logits.new_empty(logits.shape)


def _keep_logits(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    logits, targets, *ctx.options = inputs
    ctx.save_for_backward(logits, targets, output)


def _logit_backward(ctx: Any, cotangents: torch.Tensor) -> tuple[Any, ...]:
    logits, targets, statistics = ctx.saved_tensors
    ignore_index, scale, cap, _, group = ctx.options
    gradient = logit_gradient(
        logits, targets, statistics[0], cotangents, ignore_index, scale, cap, group
    )
    return gradient, *[None] * 6


logit_statistics.register_autograd(_logit_backward, setup_context=_keep_logits)


@torch.library.custom_op("leyden::linear_statistics", mutates_args=())
def linear_statistics(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    ignore_index: int,
    scale: float,
    cap: float,
    totals: bool,
    group: str,
    reduce_hidden: bool,
    workspace: int,
) -> torch.Tensor:
    """Statistics float32 [3, N] of ``hidden @ weight.T``."""
    del reduce_hidden  # backward's
    shard = Shard.of(group)
    _check_targets(targets, targets != ignore_index, len(weight) * shard.ranks)
    with _no_autocast(hidden):
        return head_statistics(
            Head(hidden, weight, targets, Curve(scale, cap), shard, totals, workspace)
        )


@linear_statistics.register_fake
def _(hidden: torch.Tensor, *_: Any) -> torch.Tensor:
    return hidden.new_empty(3, hidden.shape[0], dtype=torch.float32)


@torch.library.custom_op("leyden::linear_statistics_gradient", mutates_args=())
def linear_statistics_gradient(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    lse: torch.Tensor,
    cotangents: torch.Tensor,
    ignore_index: int,
    scale: float,
    cap: float,
    group: str,
    reduce_hidden: bool,
    workspace: int,
    of_hidden: bool,
    of_weight: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of ``hidden`` and ``weight``, in their dtypes, from cotangents [3, N]."""
    head = Head(hidden, weight, targets, Curve(scale, cap), Shard.of(group), False, workspace)
    given = torch.where(targets != ignore_index, cotangents, 0.0)
    up = unit(given)
    given = given * up
    with _no_autocast(hidden):
        by_hidden, by_weight = head_gradients(
            head, lambda part, _: (lse[part], given[:, part]), of_hidden, of_weight, reduce_hidden
        )
    down = scale / up
    return _rescaled(by_hidden, down, hidden.dtype), _rescaled(by_weight, down, weight.dtype)


@linear_statistics_gradient.register_fake
def _(hidden: torch.Tensor, weight: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    *_, of_hidden, of_weight = rest
    return (
        hidden.new_empty(hidden.shape if of_hidden else (0,)),
        weight.new_empty(weight.shape if of_weight else (0,)),
    )


def _keep_head(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    hidden, weight, targets, *ctx.options = inputs
    ctx.save_for_backward(hidden, weight, targets, output)


def _head_backward(ctx: Any, cotangents: torch.Tensor) -> tuple[Any, ...]:
    hidden, weight, targets, statistics = ctx.saved_tensors
    ignore_index, scale, cap, _, group, reduce_hidden, workspace = ctx.options
    wanted = ctx.needs_input_grad[:2]
    gradients = linear_statistics_gradient(
        hidden,
        weight,
        targets,
        statistics[0],
        cotangents,
        ignore_index,
        scale,
        cap,
        group,
        reduce_hidden,
        workspace,
        *wanted,
    )
    found = (g if want else None for g, want in zip(gradients, wanted, strict=True))
    return *found, *[None] * 8


linear_statistics.register_autograd(_head_backward, setup_context=_keep_head)


@torch.library.custom_op("leyden::linear_total", mutates_args=())
def linear_total(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    ignore_index: int,
    smoothing: float,
    z_loss: float,
    scale: float,
    cap: float,
    group: str,
    reduce_hidden: bool,
    workspace: int,
    of_hidden: bool,
    of_weight: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """``Σ weights · losses`` (fp32 scalar), statistics [3, N], and gradients that wait in fp32.

    ``weights`` float32 [N]. The gradients, of ``hidden`` and ``weight``, are those of the sum once
    multiplied by the last output, a scalar.
    """
    shard = Shard.of(group)
    vocabulary = len(weight) * shard.ranks
    terms = Terms(vocabulary, smoothing, z_loss)
    seen = targets != ignore_index
    _check_targets(targets, seen, vocabulary)
    head = Head(hidden, weight, targets, Curve(scale, cap), shard, smoothing != 0, workspace)
    factors = torch.where(seen, weights, 0.0)
    up = unit(factors)
    raised = factors * up
    statistics = torch.empty(3, len(hidden), dtype=torch.float32, device=hidden.device)

    def cotangents(part: slice, compute: Any) -> tuple[torch.Tensor, torch.Tensor]:
        statistics[:, part] = found = compute()
        return found[0], terms.derivatives(found, raised[part])

    with _no_autocast(hidden):
        by_hidden, by_weight = head_gradients(head, cotangents, of_hidden, of_weight, reduce_hidden)
    total = (factors * terms.losses(statistics, seen)).sum()
    return total, statistics, by_hidden, by_weight, scale / up


@linear_total.register_fake
def _(
    hidden: torch.Tensor, weight: torch.Tensor, *rest: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    *_, of_hidden, of_weight = rest

    def fresh(*shape: int) -> torch.Tensor:
        return hidden.new_empty(shape, dtype=torch.float32)

    return (
        fresh(),
        fresh(3, hidden.shape[0]),
        fresh(*(hidden.shape if of_hidden else (0,))),
        fresh(*(weight.shape if of_weight else (0,))),
        fresh(),
    )


def _keep_total(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    hidden, weight, targets, _, ignore_index, smoothing, z_loss, *_, group = inputs[:10]
    _, statistics, by_hidden, by_weight, down = output
    ctx.terms = (ignore_index, smoothing, z_loss, group, len(weight))
    ctx.dtypes = (hidden.dtype, weight.dtype)
    ctx.save_for_backward(targets, statistics, by_hidden, by_weight, down)
    ctx.mark_non_differentiable(statistics, by_hidden, by_weight, down)
    # Else a zero as large as the weight is made for each output that has no cotangent.
    ctx.set_materialize_grads(False)


def _total_backward(ctx: Any, cotangent: torch.Tensor | None, *_: Any) -> tuple[Any, ...]:
    if cotangent is None:
        return (None,) * 14
    targets, statistics, *gradients, down = ctx.saved_tensors
    found: list[torch.Tensor | None] = [
        rescaled(gradient, cotangent * down, dtype) if wanted else None
        for gradient, dtype, wanted in zip(
            gradients, ctx.dtypes, ctx.needs_input_grad[:2], strict=True
        )
    ]
    of_weights = None
    if ctx.needs_input_grad[3]:
        ignore_index, smoothing, z_loss, group, columns = ctx.terms
        terms = Terms(columns * Shard.of(group).ranks, smoothing, z_loss)
        of_weights = cotangent * terms.losses(statistics, targets != ignore_index)
    return *found, None, of_weights, *[None] * 10


linear_total.register_autograd(_total_backward, setup_context=_keep_total)


def _rescaled(tensor: torch.Tensor, factor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    out = torch.empty(tensor.shape, dtype=dtype, device=tensor.device)
    return torch.mul(tensor, factor, out=out)


@torch.library.custom_op("leyden::rescaled", mutates_args=())
def rescaled(tensor: torch.Tensor, factor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``tensor · factor``, multiplied in fp32 and rounded once, in one pass over memory."""
    return _rescaled(tensor, factor, dtype)


@rescaled.register_fake
def _(tensor: torch.Tensor, *rest: Any) -> torch.Tensor:
    return tensor.new_empty(tensor.shape, dtype=rest[-1])
