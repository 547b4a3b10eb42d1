"""Two linear layers with an activation between them, cut over tensor-parallel ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from megatron.core.transformer.module import MegatronModule
from torch import Tensor
from torch.nn.functional import gelu

from trainer.models.config import ModelConfig
from trainer.vision.parallel import NarrowingLinear, WideningLinear


def quick_gelu(x: Tensor) -> Tensor:
    """x σ(1.702 x), an approximation of GELU (arXiv:1606.08415, section 2)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "quick_gelu": quick_gelu}
"""By the names that recipes give them; ``gelu`` is the exact one, by the error function."""


class Mlp(MegatronModule):  # type: ignore[misc]
    """``W₂ act(W₁ x + b₁) + b₂``, with W₁ ``[middle, before]`` and W₂ ``[after, middle]``.

    ``widths`` are before, middle and after; ``deviations`` those of W₁ and W₂.
    """

    def __init__(
        self,
        config: ModelConfig,
        group: Any,
        widths: tuple[int, int, int],
        deviations: tuple[float, float],
        activation: str,
    ) -> None:
        super().__init__(config)
        self.tp_group = group
        before, middle, after = widths
        self.linear_fc1 = WideningLinear(config, group, before, middle, deviations[0])
        self.linear_fc2 = NarrowingLinear(config, group, middle, after, deviations[1])
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """``[…, n, before]`` to ``[…, n, after]``, of three dimensions."""
        out: Tensor = self.linear_fc2(self.activation(self.linear_fc1(x)[0]))[0]
        return out
