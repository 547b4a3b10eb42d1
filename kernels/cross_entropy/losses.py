"""The loss of a token as a function of its row's statistics, and its derivatives by them."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Terms(NamedTuple):
    """What a token's loss is made of, over a vocabulary of ``vocabulary`` entries.

    With ``ε`` the smoothing and ``ζ`` the weight of the z-loss,

        loss = lse − (1 − ε) · target − ε/V · total + ζ · lse²

    Smoothing as in Szegedy et al. 2016 (arXiv 1512.00567 §7): the target distribution is
    ``(1 − ε) · onehot + ε/V``. The z-loss is that of PaLM (arXiv 2204.02311 §5: ``ζ`` = 1e-4).
    """

    vocabulary: int
    smoothing: float = 0.0
    z_loss: float = 0.0

    def losses(self, statistics: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Losses [N] from ``statistics`` [3, N]; 0 where not ``seen`` (bool [N])."""
        lse, target, total = statistics.unbind(0)
        loss = lse - (1 - self.smoothing) * target
        if self.smoothing:
            loss = loss - self.smoothing / self.vocabulary * total
        if self.z_loss:
            loss = loss + self.z_loss * lse.square()
        return torch.where(seen, loss, 0.0)

    def derivatives(self, statistics: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """``weights`` [N] times the derivatives of a loss by its statistics: [3, N].

        0 where the weight is 0, whatever the statistics are.
        """
        by_lse = weights * (1 + 2 * self.z_loss * statistics[0]) if self.z_loss else weights
        by_lse = torch.where(weights == 0, 0.0, by_lse)
        by_total = weights * (-self.smoothing / self.vocabulary)
        return torch.stack([by_lse, weights * (self.smoothing - 1), by_total])
