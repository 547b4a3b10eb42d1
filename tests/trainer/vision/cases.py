"""A small model that is shown images, and sequences with images in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.megatron.start import Layout
from trainer.models.build import build_model
from trainer.models.language_model import LanguageModel
from trainer.models.recipe import ModelRecipe
from trainer.vision.images import Images
from vl_data.tiling import Plan, Tiling, plan

VOCAB = 300
LENGTH = 128
"""Tokens of a sequence: an image takes 16 to 96 of them."""
IMAGE = 2
"""The image's id."""
ONE_TILE = Tiling("one tile", 56, 14)
"""As the first stage has it: a thumbnail and no newline."""

VISION: dict[str, Any] = {
    "layers": 2, "hidden": 24, "heads": 4, "ffn": 40, "patch": 14, "tile": 56, "tiling": "tiny56",
}  # fmt: skip


def recipe(**changes: Any) -> ModelRecipe:
    """Rotary on half of each head; ``changes`` of fields, and of the ``vision`` block's,
    or None for a model of text."""
    asked = changes.pop("vision", {})
    vision = None if asked is None else VISION | {"image_token": IMAGE} | asked
    sizes: dict[str, Any] = {
        "name": "small-vl",
        "layers": 2,
        "hidden": 32,
        "heads": 4,
        "head_dim": 8,
        "kv_heads": 2,
        "mixers": ["lightning", "softmax"],
        "rotary_dim": 4,
        "experts": {"count": 4, "top_k": 2, "ffn": 24, "aux_loss": {"coefficient": 0}},
        "vision": vision,
    }
    return ModelRecipe(**(sizes | changes))


def build(model: ModelRecipe, layout: Layout | None = None, **more: Any) -> LanguageModel:
    """The model, with gains that are not all one and biases that are not zero."""
    made = build_model(
        model,
        vocab_size=VOCAB,
        sequence_tokens=LENGTH,
        rope_base=10_000.0,
        parallel=layout or Layout(),
        **more,
    )
    vary(made)
    return made


@torch.no_grad()
def vary(model: LanguageModel) -> None:
    """Add to each gain and bias what depends on its place in the whole parameter alone."""
    rank = model.pg_collection.tp.rank()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            size = len(parameter)
            split = getattr(parameter, "partition_dim", -1) == 0
            first = rank * size if split else 0
            parameter += 0.2 * torch.sin(torch.arange(first, first + size, dtype=torch.float32))


def pixels_of(plans: Sequence[Plan], seed: int = 0) -> Tensor:
    """Tiles ``[n, 3, 56, 56]`` of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(len(one.tiles) for one in plans), 3, 56, 56, generator=generator)


@dataclass(frozen=True)
class Shown:
    """A sequence ``[LENGTH]`` and the images in it, labels without places of images, boundaries."""

    tokens: Tensor
    labels: Tensor
    cu_seqlens: Tensor
    images: Images | None


def shown(seed: int, images: Sequence[tuple[int, Plan]]) -> Shown:
    """Random tokens, with each image at the place that is said."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCAB, (LENGTH,), generator=generator)
    for place, one in images:
        assert place + one.tokens <= LENGTH
        assert (tokens[place : place + one.tokens] != IMAGE).all()
        tokens[place : place + one.tokens] = IMAGE
    labels = tokens.roll(-1)
    labels[-1] = -100
    labels[labels == IMAGE] = -100
    plans = tuple(one for _, one in images)
    seen = Images(pixels_of(plans, seed), plans) if plans else None
    return Shown(tokens, labels, torch.tensor([0, 100 + seed, LENGTH], dtype=torch.int32), seen)


def batch() -> list[Shown]:
    """Four sequences: two images; none; one across the middle; one without a newline."""
    small, wide = plan(40, 60, "tiny56"), plan(300, 120, "tiny56")
    thumbnail = plan(90, 90, ONE_TILE)
    return [
        shown(0, [(1, small), (90, thumbnail)]),
        shown(1, []),
        shown(2, [(20, wide)]),
        shown(3, [(110, thumbnail)]),
    ]


def apart(a: Tensor, b: Tensor) -> float:
    """``max|a - b| / max|b|``."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())
