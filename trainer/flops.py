"""Model FLOPs: what the mathematics of a model needs, whatever a program spends on it.

Counted are matrix products, at 2 FLOPs a multiply-add, over what can reach an output: a token's
softmax attention over the tokens of its own segment up to itself (not the masked half, which other
conventions count), its top-k experts and not the others, the head once. Embedding lookups, norms,
activations, gates, rotary and the routers' softmax are not counted; nor is work done again
(recomputation), padded, or dropped, so that the count does not change with how a model is run.
The head counts for tokens that have a label: no others reach a loss. Of an image its tiles count
whole, padding and thumbnail included, for the tower sees them; the projector's work is on what an
image keeps of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.models.recipe import ModelRecipe
from trainer.vision.recipe import CHANNELS, VisionRecipe

TRAINING_PASSES = 3
"""A backward pass multiplies twice for each product of the forward pass (by inputs and by weights,
or by each of two operands), so training is three forward passes."""

_RATES: tuple[tuple[str, float], ...] = (
    # Dense bf16 FLOP/s of NVIDIA's datasheets (without sparsity), the narrower names first.
    (r"\bH[12]00\b.*\bNVL\b", 835e12),
    (r"\bH100\b.*\bPCIe\b", 756e12),
    (r"\bG?H[12]00\b", 989e12),
    (r"\bA100\b", 312e12),
    (r"\bB200\b", 2250e12),
)


@dataclass(frozen=True)
class Flops:
    """FLOPs of one forward pass over a batch, by what they are for.

    Attributes
    ----------
    projections: into and out of token mixers, gates included.
    mixing: what tokens do with each other, by mixer: of ``lightning`` its recurrence and the
        products inside its blocks, of ``softmax`` queries by keys, and weights by values.
    router, experts: of the mixtures of experts.
    head: hidden states to logits.
    tower: of a vision transformer, its tiles.
    projector: features of images to the language model's width.
    tower_input, projector_input: of these two, their first product: a gradient of what goes into
        it is wanted only where something before it is trained.
    """

    projections: int
    mixing: Mapping[str, int]
    router: int
    experts: int
    head: int
    tower: int = 0
    projector: int = 0
    tower_input: int = 0
    projector_input: int = 0

    @property
    def forward(self) -> int:
        """FLOPs of the forward pass."""
        return self.language + self.tower + self.projector

    @property
    def language(self) -> int:
        """FLOPs of the forward pass of the language model."""
        return self.projections + sum(self.mixing.values()) + self.router + self.experts + self.head

    @property
    def training(self) -> int:
        """FLOPs of a forward and a backward pass; of pixels there is no gradient."""
        return TRAINING_PASSES * self.forward - self.tower_input

    def training_of(self, parts: Collection[str]) -> int:
        """FLOPs of both passes where only some parts are trained (``trainer.vision.parts``).

        Of a frozen part that gradients go through, the products by weights' gradients fall away; of
        a frozen part that nothing trained comes before, the backward pass does; and of the first
        product of a trained part that nothing trained comes before, that by its input. (Of the
        language model embeddings come before.)
        """
        total, before = 0, False
        for part, flops, first in (
            ("vision", self.tower, self.tower_input),
            ("projector", self.projector, self.projector_input),
            ("language", self.language, 0),
        ):
            trained = part in parts
            total += flops * (TRAINING_PASSES if trained else 2 if before else 1)
            total -= first if trained and not before else 0
            before |= trained
        return total


def count_flops(
    recipe: ModelRecipe,
    segments: Sequence[int] | npt.NDArray[np.int64],
    vocab_size: int,
    tiles: int = 0,
    features: int = 0,
    labels: int | None = None,
) -> Flops:
    """FLOPs of a forward pass over segments, each of which attends to itself only.

    Parameters
    ----------
    recipe: the model.
    segments: tokens of each segment, as between the entries of ``cu_seqlens``; [segments].
    vocab_size: logits that count, without padding.
    tiles: of all images.
    features: that their plans keep, without newlines; these are tokens of the segments too.
    labels: tokens after which something is to be predicted; None: all.

    Raises
    ------
    ValueError
        If there is no such mixer or it has no count, or images for a model without a tower.
    """
    # Imported here: Megatron-Core takes seconds, and rates are wanted without it.
    from trainer.models.mixers import mixer_flops

    lengths = np.asarray(segments, np.int64)
    tokens = int(lengths.sum())
    h, projections, mixing = recipe.hidden, 0, dict[str, int]()
    for name, layers in Counter(map(recipe.mixer_of, range(recipe.layers))).items():
        each = mixer_flops(name, recipe, lengths)
        projections += layers * each.projections
        mixing[name] = layers * each.mixing
    experts = recipe.experts
    return Flops(
        projections=projections,
        mixing=mixing,
        router=recipe.layers * 2 * tokens * h * experts.count,
        experts=recipe.layers * 2 * tokens * 3 * h * experts.ffn * experts.top_k,
        head=2 * (tokens if labels is None else labels) * h * vocab_size,
        tower=tiles * sum(_tile(recipe, tiles)),
        projector=features * sum(_feature(recipe, features)),
        tower_input=tiles * _tile(recipe, tiles)[0],
        projector_input=features * _feature(recipe, features)[0],
    )


def _tile(recipe: ModelRecipe, tiles: int) -> tuple[int, int]:
    """Of the tower, for one tile: patches; four projections, attention, two layers of the MLP."""
    if not tiles:
        return 0, 0
    vision = _vision(recipe, tiles, "tiles")
    n, h = vision.positions, vision.hidden
    patches = 2 * vision.features * CHANNELS * vision.patch**2 * h
    layer = 2 * n * (4 * h * h + 2 * h * vision.ffn) + 4 * n * n * h
    return patches, vision.layers * layer


def _feature(recipe: ModelRecipe, features: int) -> tuple[int, int]:
    """Of the projector, for one feature: its first layer, and its second."""
    if not features:
        return 0, 0
    vision = _vision(recipe, features, "features")
    return 2 * vision.hidden * recipe.hidden, 2 * recipe.hidden**2


def _vision(recipe: ModelRecipe, count: int, what: str) -> VisionRecipe:
    if recipe.vision is None:
        raise ValueError(
            f"model {recipe.name}: found {count} {what} of images, expected none: it has no vision "
            "block"
        )
    return recipe.vision


def datasheet_rate(device_name: str) -> float | None:
    """Dense bf16 FLOP/s of a device by its name, as ``torch.cuda.get_device_name`` gives it.

    None for a CPU and for devices whose datasheet is not in the table.
    """
    for pattern, rate in _RATES:
        if re.search(pattern, device_name, re.IGNORECASE):
            return rate
    return None


def utilisation(flops_per_second: float, peak: float | None, devices: int = 1) -> float | None:
    """Part of ``devices`` times a peak rate that is reached; None where the peak is not known.

    MFU (arXiv:2204.02311, appendix B) with ``training`` FLOPs a second and
    :func:`datasheet_rate`; the matmul efficiency with a rate measured on the device itself.

    Raises
    ------
    ValueError
        If there is no device, or the peak is not above 0.
    """
    if devices < 1:
        raise ValueError(f"devices: found {devices}, expected at least 1")
    if peak is None:
        return None
    if not peak > 0:
        raise ValueError(f"peak: found {peak} FLOP/s, expected a rate above 0")
    return flops_per_second / (peak * devices)
