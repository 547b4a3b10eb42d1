"""The public functions. The choice of form, its arithmetic and its memory are in the package."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, overload

import torch
import torch.distributed as dist

from kernels.cross_entropy.linear import WORKSPACE
from kernels.cross_entropy.losses import Terms
from kernels.cross_entropy.ops import linear_statistics, linear_total, logit_statistics

Reduction = Literal["none", "sum", "mean"]
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class Details(NamedTuple):
    """What a loss was made of, fp32 in the shape of the targets; 0 where ignored.

    ``log_prob``: natural log of the target's probability, without smoothing, z-loss or weights.
    ``lse``: log-sum-exp of the row. Both over the whole vocabulary.
    """

    log_prob: torch.Tensor
    lse: torch.Tensor


def _refuse(what: str, found: object, expected: str) -> ValueError:
    return ValueError(f"{what}: found {found}, expected {expected}")


class _Call:
    """The checked arguments that both public functions share."""

    def __init__(
        self,
        rows: torch.Tensor,
        columns: int,
        targets: torch.Tensor,
        ignore_index: int,
        weights: torch.Tensor | None,
        label_smoothing: float,
        z_loss: float,
        logit_scale: float,
        softcap: float | None,
        reduction: str,
        group: dist.ProcessGroup | None,
        vocab_size: int | None,
    ) -> None:
        if reduction not in ("none", "sum", "mean"):
            raise _refuse("reduction", repr(reduction), "'none', 'sum' or 'mean'")
        if targets.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"targets: found {targets.dtype}, expected int64 or int32")
        if targets.shape != rows.shape[:-1]:
            shape = tuple(rows.shape[:-1])
            raise _refuse("targets", f"shape {tuple(targets.shape)}", f"{shape}, one a token")
        if targets.device != rows.device:
            raise _refuse("targets", targets.device, f"{rows.device}, where the inputs are")
        if not 0 <= label_smoothing < 1:
            raise _refuse("label_smoothing", label_smoothing, "0 <= label_smoothing < 1")
        if not 0 <= z_loss < math.inf:
            raise _refuse("z_loss", z_loss, "a finite number >= 0")
        if not -math.inf < logit_scale < math.inf:
            raise _refuse("logit_scale", logit_scale, "a finite number")
        if softcap is not None and not 0 < softcap < math.inf:
            raise _refuse("softcap", softcap, "a finite number > 0, or None")
        if weights is not None:
            if weights.shape != targets.shape or weights.device != targets.device:
                found = f"shape {tuple(weights.shape)} on {weights.device}"
                raise _refuse("weights", found, f"{tuple(targets.shape)} on {targets.device}")
            if not weights.is_floating_point():
                raise TypeError(f"weights: found {weights.dtype}, expected a floating dtype")
        ranks = 1 if group is None else group.size()
        if vocab_size is not None and columns * ranks != vocab_size:
            raise ValueError(
                f"vocab_size: found {columns} entries on each of {ranks} ranks, expected "
                f"{vocab_size} in all; with a group each rank passes its own 1/{ranks} of the "
                "rows, and a gathered weight or gathered logits pass no group"
            )
        self.shape = targets.shape
        self.targets = targets.reshape(-1).to(torch.int64).contiguous()
        self.seen = self.targets != ignore_index
        self.ignore_index = ignore_index
        self.weights = None if weights is None else weights.reshape(-1).float()
        self.terms = Terms(columns * ranks, label_smoothing, z_loss)
        self.scale, self.cap = float(logit_scale), float(softcap or 0.0)
        self.group = "" if group is None else group.group_name
        self.reduction = reduction

    def mean(self, total: torch.Tensor) -> torch.Tensor:
        """``total`` over the weights of the tokens seen; 0 where these add up to 0."""
        seen = self.seen.to(torch.float32)
        mass = (seen if self.weights is None else torch.where(self.seen, self.weights, 0.0)).sum()
        return torch.where(mass == 0, 0.0, total / torch.where(mass == 0, 1.0, mass))

    def reduced(self, statistics: torch.Tensor) -> torch.Tensor:
        losses = self.terms.losses(statistics, self.seen)
        if self.weights is not None:
            losses = torch.where(self.seen, losses * self.weights, 0.0)
        if self.reduction == "none":
            return losses.reshape(self.shape)
        return losses.sum() if self.reduction == "sum" else self.mean(losses.sum())

    def details(self, statistics: torch.Tensor) -> Details:
        lse = torch.where(self.seen, statistics[0], 0.0)
        log_prob = torch.where(self.seen, statistics[1] - statistics[0], 0.0)
        return Details(log_prob.reshape(self.shape), lse.reshape(self.shape))


def _check_float(name: str, tensor: torch.Tensor, dimensions: str, least: int) -> None:
    if tensor.dtype not in _FLOATS:
        raise TypeError(f"{name}: found {tensor.dtype}, expected float32, bfloat16 or float16")
    if tensor.dim() < least or tensor.shape[-1] == 0:
        raise _refuse(name, f"shape {tuple(tensor.shape)}", f"{dimensions}, none of them empty")


@overload
def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    ignore_index: int = ...,
    weights: torch.Tensor | None = ...,
    label_smoothing: float = ...,
    z_loss: float = ...,
    logit_scale: float = ...,
    softcap: float | None = ...,
    reduction: Reduction = ...,
    group: dist.ProcessGroup | None = ...,
    vocab_size: int | None = ...,
    reduce_hidden_grad: bool = ...,
    workspace: int | None = ...,
    return_details: Literal[False] = ...,
) -> torch.Tensor: ...


@overload
def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    ignore_index: int = ...,
    weights: torch.Tensor | None = ...,
    label_smoothing: float = ...,
    z_loss: float = ...,
    logit_scale: float = ...,
    softcap: float | None = ...,
    reduction: Reduction = ...,
    group: dist.ProcessGroup | None = ...,
    vocab_size: int | None = ...,
    reduce_hidden_grad: bool = ...,
    workspace: int | None = ...,
    return_details: Literal[True],
) -> tuple[torch.Tensor, Details]: ...


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    ignore_index: int = -100,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    reduction: Reduction = "mean",
    group: dist.ProcessGroup | None = None,
    vocab_size: int | None = None,
    reduce_hidden_grad: bool = True,
    workspace: int | None = None,
    return_details: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, Details]:
    """Cross-entropy of ``softmax(hidden @ weight.T)`` that never holds all logits.

    With ``x = softcap · tanh(logit_scale · hidden @ weight.T / softcap)`` (no ``tanh`` when
    ``softcap`` is None), ``ε = label_smoothing``, ``V`` the vocabulary and ``w`` the weights,

        loss_t = w_t · (lse_t − (1 − ε) · x_t[y_t] − ε/V · Σ_v x_t[v] + z_loss · lse_t²)
        lse_t = log Σ_v exp(x_t[v])

    and 0 for tokens whose target is ``ignore_index``. The MiniMax-01 head: H = 6144, V = 200,064,
    untied (arXiv 2501.08313 and the released configuration).

    Args:
        hidden: [..., H] bf16, fp16 or fp32, any strides.
        weight: [V, H], of hidden's dtype, or fp32 beside 16-bit ``hidden``: the *fp32 head*, whose
            products are in fp32 (TF32 if torch is set so).
        targets: int64 or int32 [...].
        weights: floating [...], a loss weight for each token; has a gradient.
        reduction: ``"none"`` gives fp32 [...]; ``"sum"`` an fp32 scalar; ``"mean"`` the sum over
            ``Σ w`` of the tokens not ignored, and 0, with gradients of 0, when that is 0.
        group: process group whose rank r passes rows [r·V/R, (r+1)·V/R) of the weight, with the
            same hidden and targets (indices into the whole vocabulary) as the others. Each gets
            the whole loss, and must call backward with the same cotangent.
        vocab_size: V, to be checked. Worth passing with a group: a full weight passed along with
            one would give log R more than the loss.
        reduce_hidden_grad: add hidden's gradient over the group. False leaves each rank its part,
            for a caller whose next collective adds it anyway.
        workspace: most bytes of logits and their gradients at a time; ``linear.WORKSPACE`` by
            default. Larger is a little faster. At least one token's logits are held.
        return_details: also return ``Details``. They have gradients under ``"none"`` only.

    Returns:
        The loss; with ``return_details`` the pair of it and ``Details``.

    Gradients are right for every cotangent. ``"sum"`` and ``"mean"`` compute them in the forward
    pass (three products of N·V·H in all) and scale them in backward; ``"none"`` makes the logits
    again in backward (four). So a loss mask or a weight for each source belongs in ``weights``.
    There is no second derivative. NaN and infinite inputs give NaN or infinite losses and
    gradients.

    Raises:
        TypeError: dtypes. ValueError: shapes, devices, ranges; on a CPU also a target outside
            [0, V). On a GPU such a target is found without a synchronisation: the device stops
            with an assertion that names it, as in torch's own losses.
    """
    _check_float("hidden", hidden, "[..., H]", 1)
    _check_float("weight", weight, "[V, H]", 2)
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[-1] or not len(weight):
        raise _refuse("weight", f"shape {tuple(weight.shape)}", f"[V >= 1, {hidden.shape[-1]}]")
    if weight.dtype not in (hidden.dtype, torch.float32):
        raise TypeError(
            f"weight: found {weight.dtype}, expected {hidden.dtype} as hidden, or float32"
        )
    if weight.device != hidden.device:
        raise _refuse("weight", weight.device, f"{hidden.device}, where hidden is")
    call = _Call(
        hidden,
        len(weight),
        targets,
        ignore_index,
        weights,
        label_smoothing,
        z_loss,
        logit_scale,
        softcap,
        reduction,
        group,
        vocab_size,
    )
    if workspace is None:
        workspace = WORKSPACE.get(hidden.device.type, WORKSPACE["cpu"])
    flat = hidden.reshape(-1, hidden.shape[-1])
    gradients = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    if reduction == "none" or not gradients:
        statistics = linear_statistics(
            flat,
            weight,
            call.targets,
            ignore_index,
            call.scale,
            call.cap,
            label_smoothing != 0,
            call.group,
            reduce_hidden_grad,
            workspace,
        )
        loss = call.reduced(statistics)
    else:
        ones = torch.ones(len(flat), dtype=torch.float32, device=hidden.device)
        total, statistics, *_ = linear_total(
            flat,
            weight,
            call.targets,
            ones if call.weights is None else call.weights,
            ignore_index,
            label_smoothing,
            z_loss,
            call.scale,
            call.cap,
            call.group,
            reduce_hidden_grad,
            workspace,
            hidden.requires_grad,
            weight.requires_grad,
        )
        loss = total if reduction == "sum" else call.mean(total)
    return (loss, call.details(statistics)) if return_details else loss


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    ignore_index: int = -100,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    reduction: Reduction = "mean",
    group: dist.ProcessGroup | None = None,
    vocab_size: int | None = None,
) -> torch.Tensor:
    """The loss of ``linear_cross_entropy`` from logits [..., V] that exist already.

    Forward reads the logits once; backward reads them once and writes their gradient, for any
    cotangent. ``logits`` may be bf16, fp16 or fp32; rows may lie apart, and are copied if their
    last dimension is not contiguous. With ``group`` each rank passes its own V/R columns and gets
    their gradient; gathered logits pass no group. Other arguments, result and errors are those of
    ``linear_cross_entropy``.
    """
    _check_float("logits", logits, "[..., V]", 1)
    call = _Call(
        logits,
        logits.shape[-1],
        targets,
        ignore_index,
        weights,
        label_smoothing,
        z_loss,
        logit_scale,
        softcap,
        reduction,
        group,
        vocab_size,
    )
    flat = logits.reshape(-1, logits.shape[-1])
    flat = flat if flat.stride(-1) == 1 else flat.contiguous()
    statistics = logit_statistics(
        flat, call.targets, ignore_index, call.scale, call.cap, label_smoothing != 0, call.group
    )
    return call.reduced(statistics)
