"""The vision tower: tiles of pixels to features."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations, xavier
from trainer.vision.block import VisionBlock
from trainer.vision.norm import LayerNorm
from trainer.vision.recipe import CHANNELS, VisionRecipe


class VisionTower(MegatronModule):  # type: ignore[misc]
    """CLIP's vision transformer (arXiv:2103.00020) up to its last hidden state.

    Patches and a class, plus a table of positions, go through a norm and the blocks. The norm
    behind them is not there, and the class is computed and dropped: what follows takes the last
    hidden state of the patches, as MiniMax-VL-01 released it. Each tile is by itself.

    Under pipeline parallelism it lies on the first stage. With ``recompute`` in force the input of
    each block is kept alone.

    Args:
        config: of the model, whose recipe has a ``vision`` block.
        pg_collection: process groups, of which ``tp`` is used.
    """

    def __init__(self, config: ModelConfig, pg_collection: ProcessGroupCollection) -> None:
        super().__init__(config)
        vision = config.recipe.vision
        if vision is None:
            raise ValueError(f"model {config.recipe.name}: found no vision block, expected one")
        self.vision, self.tp_group = vision, pg_collection.tp
        h, dtype = vision.hidden, config.params_dtype

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, dtype=dtype))

        self.class_embedding = parameter(h)
        self.patch_embedding = parameter(h, CHANNELS, vision.patch, vision.patch)
        self.position_embedding = parameter(vision.positions, h)
        self.pre_layernorm = LayerNorm(h, vision.norm_eps, dtype=dtype)
        self.blocks = _Stack(config, vision, self.tp_group)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tiles ``[n, 3, s, s]`` to features ``[n, side², h]``, row by row.

        Raises:
            ValueError: for tiles of another size.
        """
        vision = self.vision
        expected = (CHANNELS, vision.tile, vision.tile)
        if tuple(pixels.shape[1:]) != expected:
            raise ValueError(
                f"images: found pixels of shape {tuple(pixels.shape)}, expected [tiles, "
                f"{', '.join(map(str, expected))}]; tile them by {vision.tiling}"
            )
        weight = self.patch_embedding.flatten(1)
        patches = _patches(pixels.to(weight.dtype), vision.side, vision.patch) @ weight.t()
        first = self.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([first, patches], 1) + self.position_embedding
        out: Tensor = self.blocks(self.pre_layernorm(x))
        return out[:, 1:]

    def deviations(self) -> Deviations:
        """CLIP's: the inverse root of the width for class and positions; Xavier for patches."""
        vision = self.vision
        scale = vision.hidden**-0.5
        return {
            "class_embedding": scale,
            "patch_embedding": xavier(CHANNELS * vision.patch**2, vision.hidden),
            "position_embedding": scale,
        }


class _Stack(MegatronModule):  # type: ignore[misc]
    """The blocks, by number from 0. Megatron-Core shards what is in a ``ModuleList`` as if every
    rank held all of it.
    """

    def __init__(self, config: ModelConfig, vision: VisionRecipe, group: Any) -> None:
        super().__init__(config)
        self.tp_group = group
        for number in range(vision.layers):
            self.add_module(str(number), VisionBlock(config, vision, group))

    def forward(self, x: Tensor) -> Tensor:
        # Only what wants a gradient keeps anything: a frozen tower runs as it is.
        again = self.config.recompute_granularity == "full" and torch.is_grad_enabled()
        for block in self.children():
            if again and any(parameter.requires_grad for parameter in block.parameters()):
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x)
        return x


def _patches(pixels: Tensor, side: int, patch: int) -> Tensor:
    """``[n, 3, s, s]`` as rows ``[n, side², 3 · patch²]``, each a patch channel by channel.

    A convolution whose stride is its width is one matrix product.
    """
    cut = pixels.reshape(len(pixels), -1, side, patch, side, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
