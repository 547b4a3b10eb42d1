"""Small models: drawn recipes, and weights."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from benchmarks.trainer.judges import VOCAB, recipe_of
from trainer.convert.names import parameters
from trainer.models.recipe import ModelRecipe


def drawn_recipe(seed: int) -> ModelRecipe:
    """A recipe of random sizes, for conversion: it need not be one that transformers can say."""
    draw = random.Random(seed)
    kv_heads, head_dim = draw.choice([1, 2, 3]), draw.choice([2, 4, 6])
    experts = draw.randint(1, 5)
    return recipe_of(
        layers=draw.randint(1, 5),
        heads=kv_heads * draw.randint(1, 3),
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=draw.randint(1, 9),
        mixers=tuple(draw.choices(["lightning", "softmax"], k=draw.randint(1, 4))),
        experts=(experts, draw.randint(1, experts), draw.randint(1, 7)),
        rotary_dim=2 * draw.randint(1, head_dim // 2),
        residual=draw.choice(["deepnorm", "pre"]),
    )


def weights_of(
    recipe: ModelRecipe, seed: int = 0, *, rows: int = VOCAB, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random weights by Megatron-Core names, ``rows`` of the vocabulary with padding zeros."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, parameter in parameters(recipe, VOCAB).items():
        drawn = torch.randn(parameter.shape, generator=generator)
        if parameter.form == "vocabulary":
            drawn = torch.cat([drawn, torch.zeros(rows - VOCAB, recipe.hidden)])
        weights[name] = drawn.to(dtype)
    return weights


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal in dtype, shape and every bit."""
    a, b = a.contiguous(), b.contiguous()
    same_kind = a.dtype == b.dtype and a.shape == b.shape
    return same_kind and torch.equal(a.view(-1).view(torch.uint8), b.view(-1).view(torch.uint8))
