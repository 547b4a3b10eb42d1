"""A block of the vision tower."""

from __future__ import annotations

from typing import Any

from megatron.core.transformer.module import MegatronModule
from torch import Tensor

from trainer.models.config import ModelConfig
from trainer.vision.attention import TileAttention
from trainer.vision.mlp import Mlp
from trainer.vision.norm import LayerNorm
from trainer.vision.recipe import VisionRecipe


class VisionBlock(MegatronModule):  # type: ignore[misc]
    """``y = x + attention(norm(x))``, then ``z = y + mlp(norm(y))``."""

    def __init__(self, config: ModelConfig, vision: VisionRecipe, group: Any) -> None:
        super().__init__(config)
        self.tp_group = group
        h, eps, dtype = vision.hidden, vision.norm_eps, config.params_dtype
        self.input_layernorm = LayerNorm(h, eps, dtype=dtype)
        self.self_attention = TileAttention(config, vision, group)
        self.pre_mlp_layernorm = LayerNorm(h, eps, dtype=dtype)
        # CLIP's deviations, as for attention.
        deviations = (2 * h) ** -0.5, (2 * vision.layers * h) ** -0.5
        self.mlp = Mlp(config, group, (h, vision.ffn, h), deviations, vision.activation)

    def forward(self, x: Tensor) -> Tensor:
        """``[tiles, positions, h]`` to the same."""
        x = x + self.self_attention(self.input_layernorm(x))
        out: Tensor = x + self.mlp(self.pre_mlp_layernorm(x))
        return out
