"""A small model with random weights, and a tokenizer trained on a few sentences."""

from __future__ import annotations

from itertools import islice

import torch

from dataflow.tokenizer import Tokenizer, train
from trainer.evaluation.haystack import draws, invented
from trainer.generation.decoder import Decoder
from trainer.models.recipe import Experts, ModelRecipe

VOCABULARY = 512
RECIPE = ModelRecipe(
    name="small", layers=2, hidden=32, heads=2, head_dim=16, kv_heads=1,
    mixers=("lightning", "softmax"), rotary_dim=8, experts=Experts(count=4, top_k=2, ffn=24),
)  # fmt: skip


def small_tokenizer() -> Tokenizer:
    return train(islice(invented(draws("tokenizer")), 400), VOCABULARY)


def small_decoder(vocabulary: int = VOCABULARY, seed: int = 0) -> Decoder:
    draw = torch.Generator().manual_seed(seed)
    h, inner, ffn = RECIPE.hidden, RECIPE.heads * RECIPE.head_dim, RECIPE.experts.ffn
    shared = RECIPE.kv_heads * RECIPE.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (vocabulary, h), "lm_head": (vocabulary, h), "model.norm": (h,)
    }  # fmt: skip
    for n in range(RECIPE.layers):
        layer = f"model.layers.{n}"
        attention = f"{layer}.self_attn"
        shapes |= {f"{layer}.{name}_layernorm": (h,) for name in ("input", "post_attention")}
        if RECIPE.mixer_of(n) == "lightning":
            shapes |= {f"{attention}.qkv_proj": (3 * inner, h), f"{attention}.norm": (inner,)}
            shapes |= {f"{attention}.output_gate": (inner, h), f"{attention}.out_proj": (h, inner)}
        else:
            shapes |= {f"{attention}.q_proj": (inner, h), f"{attention}.o_proj": (h, inner)}
            shapes |= {f"{attention}.{name}_proj": (shared, h) for name in "kv"}
        moe = f"{layer}.block_sparse_moe"
        shapes[f"{moe}.gate"] = (RECIPE.experts.count, h)
        for e in range(RECIPE.experts.count):
            shapes |= {f"{moe}.experts.{e}.{w}": (ffn, h) for w in ("w1", "w3")}
            shapes[f"{moe}.experts.{e}.w2"] = (h, ffn)
    weights = {
        f"{name}.weight": torch.randn(shape, generator=draw) * (2 * shape[-1] ** -0.5)
        if len(shape) > 1
        else 1 + 0.1 * torch.randn(shape, generator=draw)
        for name, shape in shapes.items()
    }
    return Decoder(RECIPE, weights, 10_000.0)


def log_probabilities(decoder: Decoder, ids: torch.Tensor, first: int = 1) -> torch.Tensor:
    """Of the tokens from number ``first`` on: each prefix read anew, nothing shared."""
    found = []
    for n in range(first, len(ids)):
        _, logits = decoder.prefill([ids[:n]])
        found.append(logits[0].double().log_softmax(-1)[ids[n]])
    return torch.stack(found)
