"""A model small enough for a test, and a batch for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainer.megatron.start import Layout
from trainer.models.build import build_model
from trainer.models.language_model import LanguageModel
from trainer.models.recipe import ModelRecipe

VOCAB = 300
"""Embedding and head have padding rows: 20 on one rank, 84 on two tensor-parallel ones."""

LENGTH = 32
"""Tokens of a packed sequence."""


def recipe(**changes: Any) -> ModelRecipe:
    """Two lightning and two softmax layers; ``changes`` of fields, ``experts`` of its parts."""
    sizes: dict[str, Any] = {
        "name": "small",
        "layers": 4,
        "hidden": 32,
        "heads": 4,
        "head_dim": 16,
        "kv_heads": 2,
        "mixers": ["lightning", "softmax"],
        "rotary_dim": 8,
    }
    experts: dict[str, Any] = {"count": 4, "top_k": 2, "ffn": 24, "capacity_factor": 1.0}
    experts |= changes.pop("experts", {})
    return ModelRecipe(**(sizes | {"experts": experts} | changes))


def build(
    model: ModelRecipe | None = None, layout: Layout | None = None, **more: Any
) -> LanguageModel:
    """The model, with gains that are not all one."""
    made = build_model(
        model or recipe(),
        vocab_size=VOCAB,
        sequence_tokens=LENGTH,
        rope_base=10_000.0,
        parallel=layout or Layout(),
        **more,
    )
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name:
                whole = torch.linspace(0.6, 1.4, 64)
                size = parameter.shape[0]
                rank = made.pg_collection.tp.rank() if size < 64 and "self_att" in name else 0
                parameter.copy_(whole[rank * size : (rank + 1) * size])
    return made


def tokens(sequences: int, seed: int = 0) -> Tensor:
    """int64 ``[sequences · LENGTH]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCAB, (sequences * LENGTH,), generator=generator)


def cuts(sequences: int) -> Tensor:
    """int32 boundaries of documents, another place in each sequence."""
    found = [0]
    for sequence in range(sequences):
        start = sequence * LENGTH
        found += [start + 5 + 3 * sequence, start + 20, start + LENGTH]
    return torch.tensor(found, dtype=torch.int32)
