"""LayerNorm of the vision tower."""

from __future__ import annotations

import torch

from trainer.models.deviations import Deviations


class LayerNorm(torch.nn.LayerNorm):
    """torch's LayerNorm with gain and bias, which says how they start.

    Every tensor-parallel rank norms all tokens of a tile, so nothing is summed over ranks.
    """

    def deviations(self) -> Deviations:
        """The gain starts at one, the bias at zero."""
        return {"weight": None, "bias": 0.0}
