"""A model that is shown images in plain torch, by released names: the independent judge.

It shares with the modules that train the recipe and the plans of images, and calls no kernel. Of a
tile, as CLIP's vision transformer computes it (arXiv:2103.00020) and MiniMax-VL-01 takes it:

    x  = norm([class; W_patch · patch_i] + position)
    x ← x + W_o softmax(q kᵀ / √d) v      of norm₁(x), per head, all positions of the tile
    x ← x + W₂ act(W₁ norm₂(x) + b₁) + b₂
    e  = W₂ gelu(W₁ x_i + b₁) + b₂        without the class

and of an image the e of its thumbnail, then of its grid row by row without padding, each row ended
by ``image_newline`` (LLaVA-NeXT). Then the text model reads the sequence (:mod:`trainer.reference`)
with these in the places of the image's id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trainer.models.recipe import ModelRecipe
from trainer.reference import Reference
from trainer.vision.recipe import VisionRecipe
from vl_data.tiling import Plan

TEXT = "language_model."
"""What the released names of the text model begin with here."""


@dataclass(frozen=True)
class VisionReference:
    """Tower and projector: their recipe and their weights under released names."""

    vision: VisionRecipe
    weights: Mapping[str, Tensor]

    def tower(self, pixels: Tensor) -> Tensor:
        """Tiles ``[n, 3, s, s]`` to features ``[n, side², h]``."""
        stem = "vision_tower.vision_model"
        patches = F.conv2d(
            pixels,
            self.weights[f"{stem}.embeddings.patch_embedding.weight"],
            stride=self.vision.patch,
        )
        x = patches.flatten(2).transpose(1, 2)
        first = self.weights[f"{stem}.embeddings.class_embedding"].expand(len(x), 1, -1)
        x = torch.cat([first, x], 1)
        x = x + self.weights[f"{stem}.embeddings.position_embedding.weight"]
        x = self._norm(f"{stem}.pre_layrnorm", x)
        for layer in range(self.vision.layers):
            x = self._block(f"{stem}.encoder.layers.{layer}", x)
        return x[:, 1:]

    def project(self, features: Tensor) -> Tensor:
        """``[…, h]`` of the tower to ``[…, h]`` of the language model."""
        x = F.gelu(self._linear("multi_modal_projector.linear_1", features))
        return self._linear("multi_modal_projector.linear_2", x)

    def image(self, pixels: Tensor, plan: Plan) -> Tensor:
        """The tiles ``[n, 3, s, s]`` of one image to its tokens ``[tokens, h]``."""
        side, found = self.vision.side, self.project(self.tower(pixels))
        tokens = [*found[0]]
        newline = self.weights["image_newline"]
        for row in range(plan.feature_top, plan.feature_top + plan.feature_rows):
            for column in range(plan.feature_left, plan.feature_left + plan.feature_columns):
                tile = 1 + row // side * plan.columns + column // side
                tokens.append(found[tile, row % side * side + column % side])
            tokens.append(newline)
        return torch.stack(tokens)

    def images(self, pixels: Tensor, plans: Sequence[Plan]) -> Tensor:
        """The tokens ``[F, h]`` of images end to end, from their tiles end to end."""
        parts = torch.split(pixels, [len(plan.tiles) for plan in plans])
        return torch.cat([self.image(*one) for one in zip(parts, plans, strict=True)])

    def _block(self, name: str, x: Tensor) -> Tensor:
        vision, normed = self.vision, self._norm(f"{name}.layer_norm1", x)

        def heads(projection: str) -> Tensor:
            y = self._linear(f"{name}.self_attn.{projection}", normed)
            return torch.unflatten(y, -1, (vision.heads, -1)).transpose(1, 2)

        scores = heads("q_proj") @ heads("k_proj").mT / vision.head_dim**0.5
        mixed = (torch.softmax(scores, -1) @ heads("v_proj")).transpose(1, 2).flatten(2)
        x = x + self._linear(f"{name}.self_attn.out_proj", mixed)
        y = self._linear(f"{name}.mlp.fc1", self._norm(f"{name}.layer_norm2", x))
        y = F.gelu(y) if vision.activation == "gelu" else y / (1 + torch.exp(-1.702 * y))
        return x + self._linear(f"{name}.mlp.fc2", y)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        gain, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, gain.shape, gain, bias, self.vision.norm_eps)


@dataclass(frozen=True)
class VisionLanguageReference:
    """The whole: a recipe with a ``vision`` block and an image token, and released weights."""

    recipe: ModelRecipe
    weights: Mapping[str, Tensor]

    def packed(
        self, tokens: Tensor, cu_seqlens: Tensor, pixels: Tensor, plans: Sequence[Plan]
    ) -> Tensor:
        """Logits ``[T, V]`` of sequences laid end to end ``[T]``, each read by itself.

        Args:
            tokens: int64 ``[T]``.
            cu_seqlens: boundaries from 0 to T.
            pixels: tiles ``[n, 3, s, s]`` of all images, in the order of their places.
            plans: of the images.
        """
        vision = self.recipe.vision
        assert vision is not None
        text = Reference(
            self.recipe,
            {k.removeprefix(TEXT): w for k, w in self.weights.items() if k.startswith(TEXT)},
        )
        x = text.embed(tokens)
        if plans:
            rows = iter(VisionReference(vision, self.weights).images(pixels, plans))
            seen = [token == vision.image_token for token in tokens.tolist()]
            x = torch.stack([next(rows) if seen[t] else x[t] for t in range(len(x))])
            assert next(rows, None) is None, "features are left over"
        return torch.cat(
            [
                text.decode_embedded(x[None, a:b], text.start(1))[0][0]
                for a, b in pairwise(int(end) for end in cu_seqlens)
            ]
        )
