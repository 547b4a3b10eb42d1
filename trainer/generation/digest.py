"""What names a model by what it computes, wherever its folder lies."""

from __future__ import annotations

import orjson
import torch
from blake3 import blake3

from trainer.generation.decoder import Decoder

_DOMAIN = b"leyden.text-weights.1\0"
_OF_THE_FILE = {"name", "vision", "stages", "rope_base", "vocab_size"}
"""Of a recipe: what a run and its export may say differently, or what texts do not meet."""


def text_digest(decoder: Decoder) -> str:
    """32 hex digits of BLAKE3 over the weights that read text, as they are in memory.

    Sizes and choices, rotary base, and of each weight its name, type, shape and bytes, by name. A
    vision tower is left out: it has no part in texts. A rounded model is another one.
    """
    digest = blake3(_DOMAIN)
    recipe = decoder.recipe.model_dump(mode="json", exclude=_OF_THE_FILE)
    digest.update(orjson.dumps([recipe, decoder.rope_base], option=orjson.OPT_SORT_KEYS))
    for name in sorted(decoder.weights):
        weight = decoder.weights[name]
        digest.update(f"\0{name} {weight.dtype} {list(weight.shape)}\0".encode())
        digest.update(weight.detach().reshape(-1).cpu().view(torch.uint8).numpy().data)
    return str(digest.hexdigest(length=16))
