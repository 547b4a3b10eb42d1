"""Cross-entropy as it is written down: every logit at once, in float64."""

from __future__ import annotations

import torch


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
) -> torch.Tensor:
    """Losses float64 [N] of ``hidden`` [N, H], ``weight`` [V, H], ``targets`` int64 [N].

    Differentiable by torch; the equations are those of ``api.linear_cross_entropy``.
    """
    logits = hidden.double() @ weight.double().T
    return cross_entropy(
        logits,
        targets,
        ignore_index=ignore_index,
        weights=weights,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        logit_scale=logit_scale,
        softcap=softcap,
    )


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
) -> torch.Tensor:
    """Losses float64 [N] of ``logits`` [N, V]."""
    x = logit_scale * logits.double()
    if softcap is not None:
        x = softcap * torch.tanh(x / softcap)
    seen = targets != ignore_index
    goal = torch.nn.functional.one_hot(torch.where(seen, targets, 0), x.shape[1])
    wanted = (1 - label_smoothing) * goal + label_smoothing / x.shape[1]
    lse = torch.logsumexp(x, 1)
    losses = (wanted * (lse[:, None] - x)).sum(1) + z_loss * lse.square()
    if weights is not None:
        losses = losses * weights.double()
    return torch.where(seen, losses, 0.0)
