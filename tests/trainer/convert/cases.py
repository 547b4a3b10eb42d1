"""Small models: recipes, weights, and transformers' model of them."""

from __future__ import annotations

import random
from typing import Any, cast

import torch
from torch import Tensor

from trainer.convert.config import write_config
from trainer.convert.names import parameters
from trainer.models.recipe import AuxLoss, Experts, ModelRecipe

VOCAB = 75


def recipe_of(
    layers: int = 3,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 8,
    hidden: int = 24,
    mixers: tuple[str, ...] = ("lightning", "softmax"),
    experts: tuple[int, int, int] = (4, 2, 20),
    **rest: Any,
) -> ModelRecipe:
    """A small recipe with full rotary, whose router is not balanced: its judges have no such loss.

    ``experts`` are count, top_k and ffn.
    """
    count, top_k, ffn = experts
    return ModelRecipe(
        name="small",
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=hidden,
        mixers=mixers,
        experts=Experts(count=count, top_k=top_k, ffn=ffn, aux_loss=AuxLoss(coefficient=0)),
        rotary_dim=rest.pop("rotary_dim", head_dim),
        **rest,
    )


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


def transformers_model(recipe: ModelRecipe, *, vocab: int = VOCAB, seed: int = 0) -> Any:
    """transformers' model of a recipe, float32, with random weights and norm weights around 1.

    Larger weights make larger of float32's rounding than 1e-6, in their model as in ours.
    """
    # Imported here: it takes seconds, and most ranks of the tests do without.
    from transformers import MiniMaxConfig, MiniMaxForCausalLM

    config = write_config(
        recipe, "transformers", vocab_size=vocab, rope_base=recipe.rope_base, positions=512
    )
    torch.manual_seed(seed)
    # Their block is shorter than the tests' sequences, so that several are joined by a state.
    model = cast(Any, MiniMaxForCausalLM)(MiniMaxConfig(**config, block_size=16)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn(parameter.shape))
            else:
                parameter.copy_(torch.randn(parameter.shape) * (0.7 / parameter.shape[-1] ** 0.5))
    return model


def released_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' tensors in memory (fused experts) under their released names, as views."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        theirs = name.replace(".mlp.", ".block_sparse_moe.")
        if theirs.endswith("experts.gate_up_proj"):
            for e, both in enumerate(tensor):
                stem = f"{theirs.removesuffix('.gate_up_proj')}.{e}"
                found[f"{stem}.w1.weight"], found[f"{stem}.w3.weight"] = both.chunk(2)
        elif theirs.endswith("experts.down_proj"):
            stem = theirs.removesuffix(".down_proj")
            found |= {f"{stem}.{e}.w2.weight": down for e, down in enumerate(tensor)}
        else:
            found[theirs] = tensor
    return found


def apart(a: Tensor, b: Tensor) -> float:
    """``max|a - b| / max|b|``."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())
