"""What names a model that sees by what it computes of images and texts."""

from __future__ import annotations

import torch
from blake3 import blake3

from trainer.generation.decoder import Decoder
from trainer.generation.digest import text_digest

_DOMAIN = b"leyden.seeing-weights.1\0"


def seeing_digest(decoder: Decoder) -> str:
    """32 hex digits of BLAKE3 over ``text_digest`` and the weights of the part that sees.

    Of each its name, type, shape and bytes, by name, and the sizes of the vision block; the tiling
    by which images are shown is a setting, and no part of it.

    Raises:
        ValueError: the model sees nothing.
    """
    if decoder.vision is None:
        raise ValueError(f"model {decoder.recipe.name}: found no vision block, expected one")
    digest = blake3(_DOMAIN + text_digest(decoder).encode())
    sizes = decoder.vision.vision.model_dump_json(exclude={"tiling", "image_token"})
    digest.update(sizes.encode())
    for name in sorted(decoder.vision.weights):
        weight = decoder.vision.weights[name]
        digest.update(f"\0{name} {weight.dtype} {list(weight.shape)}\0".encode())
        digest.update(weight.detach().reshape(-1).cpu().view(torch.uint8).numpy().data)
    return str(digest.hexdigest(length=16))
