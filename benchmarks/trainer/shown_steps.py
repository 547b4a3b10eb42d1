"""Steps of a model that is shown images, made for timing: the layout is real, the pixels are noise.

Each document is one image and a text behind it, documents fill sequences evenly, and the loss is on
the text. Pixels are bytes of random patches, sent to the device and normalised there as a run does;
nothing is decoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from trainer.data.batches import IGNORED, MicroBatch
from trainer.vision.images import Images
from trainer.vision.recipe import VisionRecipe
from vl_data.tiling import Plan, plan

TEXT = 300
"""Tokens of text to an image, at least: descriptions of MiniMax-VL-01 have about as many
(arXiv:2501.08313, section 6.2)."""
IMAGE = 4
"""The image's id, where a model's recipe leaves it to the tokenizer."""
FIRST_WORD = 16
"""Ids of text begin here."""


@dataclass(frozen=True)
class Shape:
    """A micro-batch: documents of one image each.

    Attributes:
        plan: of each image.
        length, sequences: of the micro-batch.
        images: of a sequence.
    """

    plan: Plan
    length: int
    sequences: int
    images: int

    @property
    def tokens(self) -> int:
        """Of the micro-batch."""
        return self.length * self.sequences

    @property
    def segments(self) -> list[int]:
        """Tokens of each document of the micro-batch."""
        bounds = np.linspace(0, self.length, self.images + 1).astype(int)
        return [int(tokens) for tokens in np.diff(bounds)] * self.sequences

    @property
    def tiles(self) -> int:
        """Of all images."""
        return self.sequences * self.images * len(self.plan.tiles)

    @property
    def features(self) -> int:
        """Of all images, without newlines."""
        return self.sequences * self.images * (self.plan.tokens - self.plan.newlines)

    @property
    def labels(self) -> int:
        """Tokens of text that are to be predicted: the first follows the image."""
        return sum(tokens - self.plan.tokens for tokens in self.segments)


def shape_of(vision: VisionRecipe, tiling: str, tiles: int, length: int, sequences: int) -> Shape:
    """The micro-batch whose images have ``tiles`` tiles, the thumbnail counted, in a square.

    Raises:
        ValueError: where the tiling has no such grid, or an image with text is longer than L.
    """
    side = math.isqrt(max(tiles - 1, 1))
    laid = plan(side * vision.tile, side * vision.tile, tiling)
    if len(laid.tiles) != tiles:
        raise ValueError(
            f"tiling {tiling}: found {len(laid.tiles)} tiles for a square of {side} by {side}, "
            f"expected {tiles}"
        )
    images = length // (laid.tokens + min(TEXT, length - laid.tokens))
    return Shape(laid, length, sequences, images)


def micro_batch(
    shape: Shape, vision: VisionRecipe, vocabulary: int, seed: int, *, pin: bool
) -> MicroBatch:
    """A micro-batch of this shape."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(FIRST_WORD, vocabulary, shape.tokens)
    bounds = np.concatenate([[0], np.cumsum(shape.segments)])
    shown = np.zeros(shape.tokens, bool)
    for begin in bounds[:-1]:
        shown[begin : begin + shape.plan.tokens] = True
    tokens[shown] = IMAGE if vision.image_token is None else vision.image_token
    labels = np.where(np.roll(shown, -1), IGNORED, np.roll(tokens, -1))
    labels[bounds[1:] - 1] = IGNORED
    # A document's last token has no label, and its image's last place has the text's first.
    pixels = _pixels(shape.tiles, vision, draw)
    images = Images(
        torch.from_numpy(pixels),
        (shape.plan,) * (shape.images * shape.sequences),
        torch.from_numpy(np.flatnonzero(shown)),
    )
    found = [torch.from_numpy(x) for x in (tokens, labels)]
    cu_seqlens = torch.from_numpy(bounds.astype(np.int32))
    if pin:
        found, cu_seqlens, images = (
            [x.pin_memory() for x in found], cu_seqlens.pin_memory(), images.pinned()
        )  # fmt: skip
    return MicroBatch(
        tokens=found[0],
        labels=found[1],
        cu_seqlens=cu_seqlens,
        max_seqlen=max(shape.segments),
        documents=torch.arange(len(bounds) - 1),
        token_starts=torch.zeros(len(bounds) - 1, dtype=torch.int64),
        first_sequence=0,
        sequences=shape.sequences,
        skipped=(),
        images=images,
    )


def _pixels(tiles: int, vision: VisionRecipe, draw: np.random.Generator) -> np.ndarray:
    """uint8 ``[tiles, s, s, 3]``: a colour a patch and fainter noise, so that features differ."""
    coarse = draw.integers(0, 192, (tiles, vision.side, vision.side, 3), np.uint8)
    coloured = coarse.repeat(vision.patch, 1).repeat(vision.patch, 2)
    coloured += draw.integers(0, 64, coloured.shape, np.uint8)
    return coloured
