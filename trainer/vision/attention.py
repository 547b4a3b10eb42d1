"""Attention inside a tile."""

from __future__ import annotations

from typing import Any

from megatron.core.transformer.module import MegatronModule
from megatron.core.utils import get_pg_size
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from trainer.models.config import ModelConfig
from trainer.vision.parallel import NarrowingLinear, WideningLinear
from trainer.vision.recipe import VisionRecipe


class TileAttention(MegatronModule):  # type: ignore[misc]
    """Softmax attention of all positions of a tile to all of the same tile, scale ``1/√d``.

    All tiles are of one size, for the table of positions is: they are a batch, nothing is padded
    and none sees another. Rows of ``linear_qkv`` are head after head, of each its query, key and
    value; a tensor-parallel rank holds consecutive heads.
    """

    def __init__(self, config: ModelConfig, vision: VisionRecipe, group: Any) -> None:
        super().__init__(config)
        self.tp_group = group
        self.heads, self.head_dim = vision.heads // get_pg_size(group), vision.head_dim
        h = vision.hidden
        # CLIP's deviations: as wide as the width asks, and less where a residual is added to.
        self.linear_qkv = WideningLinear(config, group, h, 3 * h, h**-0.5)
        out = (2 * vision.layers * h) ** -0.5
        self.linear_proj = NarrowingLinear(config, group, h, h, out)

    def forward(self, x: Tensor) -> Tensor:
        """``[tiles, positions, h]`` to the same."""
        tiles, positions, _ = x.shape
        qkv, _ = self.linear_qkv(x)
        qkv = qkv.view(tiles, positions, self.heads, 3, self.head_dim)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        o = scaled_dot_product_attention(q, k, v)
        out: Tensor = self.linear_proj(o.transpose(1, 2).reshape(tiles, positions, -1))[0]
        return out
