"""The part of a model that sees, as it generates: tiles to what a sequence takes of an image.

Plain products by released names, as the decoder has them: an exported model needs no
process groups. What it computes is that of :mod:`trainer.vision` in training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from trainer.models.recipe import ModelRecipe
from trainer.vision.images import Images, order_of
from trainer.vision.pixels import normalised

TILES = 128
"""That go through the tower at once: of 336 pixels, a few hundred MB of a large tower."""

_TOWER = "vision_tower.vision_model"


class VisionEncoder:
    """Tower, projector and newline.

    Args:
        recipe: the model's, with a ``vision`` block.
        weights: released names to tensors, all of one dtype, on one device.

    Attributes:
        tiling: the name of the tiling by which images are shown.
        image_token: the id whose places take the features.

    Raises:
        ValueError: for a recipe without the block.
    """

    def __init__(self, recipe: ModelRecipe, weights: Mapping[str, Tensor], tiling: str) -> None:
        if recipe.vision is None:
            raise ValueError(f"model {recipe.name}: found no vision block, expected one")
        self.vision, self.weights, self.tiling = recipe.vision, weights, tiling
        newline = weights["image_newline"]
        self.device, self.dtype = newline.device, newline.dtype

    @property
    def image_token(self) -> int | None:
        """None where neither the recipe nor a tokenizer says it."""
        return self.vision.image_token

    @torch.no_grad()
    def features(self, images: Images) -> Tensor:
        """What the images put into their sequences, ``[F, h]``: image after image, newlines too."""
        found = torch.cat([self._tower(tiles) for tiles in torch.split(images.pixels, TILES)])
        order = order_of(images.plans, self.vision.side)
        shown = found.flatten(0, 1)[order.kept.to(self.device)]
        shown = self._linear("multi_modal_projector.linear_1", shown)
        shown = self._linear("multi_modal_projector.linear_2", functional.gelu(shown))
        out = self.weights["image_newline"].repeat(order.tokens, 1)
        return out.index_copy(0, order.places.to(self.device), shown)

    def _tower(self, tiles: Tensor) -> Tensor:
        """Tiles, as bytes or normalised, to features ``[n, side², h]`` without the class."""
        tiles = tiles.to(self.device)
        pixels = normalised(tiles) if tiles.dtype == torch.uint8 else tiles
        embeddings = f"{_TOWER}.embeddings"
        patches = functional.conv2d(
            pixels.to(self.dtype),
            self.weights[f"{embeddings}.patch_embedding.weight"],
            stride=self.vision.patch,
        )
        x = patches.flatten(2).transpose(1, 2)
        first = self.weights[f"{embeddings}.class_embedding"].expand(len(x), 1, -1)
        x = torch.cat([first, x], 1) + self.weights[f"{embeddings}.position_embedding.weight"]
        x = self._norm(f"{_TOWER}.pre_layrnorm", x)
        for layer in range(self.vision.layers):
            x = self._block(f"{_TOWER}.encoder.layers.{layer}", x)
        return x[:, 1:]

    def _block(self, name: str, x: Tensor) -> Tensor:
        heads = self.vision.heads
        normed = self._norm(f"{name}.layer_norm1", x)

        def projected(one: str) -> Tensor:
            y = self._linear(f"{name}.self_attn.{one}_proj", normed)
            return torch.unflatten(y, -1, (heads, -1)).transpose(1, 2)

        q, k, v = (projected(one) for one in "qkv")
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self._linear(f"{name}.self_attn.out_proj", mixed)
        y = self._linear(f"{name}.mlp.fc1", self._norm(f"{name}.layer_norm2", x))
        gelu = self.vision.activation == "gelu"
        y = functional.gelu(y) if gelu else y * torch.sigmoid(1.702 * y)
        return x + self._linear(f"{name}.mlp.fc2", y)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        gain, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, gain.shape, gain, bias, self.vision.norm_eps)
