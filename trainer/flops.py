"""Model FLOPs: what the mathematics of a model needs, whatever a program spends on it.

Counted are matrix products, at 2 FLOPs a multiply-add, over what can reach an output: a token's
softmax attention over the tokens of its own segment up to itself (not the masked half, which other
conventions count), its top-k experts and not the others, the head once. Embedding lookups, norms,
activations, gates, rotary and the routers' softmax are not counted; nor is work done again
(recomputation), padded, or dropped, so that the count does not change with how a model is run.
Of an image its tiles count whole, padding and thumbnail included, for the tower sees them; the
projector's work is on what an image keeps of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.models.recipe import ModelRecipe
from trainer.vision.recipe import CHANNELS, VisionRecipe

BLOCK = 256
"""Tokens of a lightning block, inside of which attention is quadratic: MiniMax-01's."""

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
    projections: into and out of both token mixers, gates included.
    lightning: its recurrence and the products inside its blocks.
    softmax: queries by keys, and weights by values.
    router, experts: of the mixtures of experts.
    head: hidden states to logits.
    tower: of a vision transformer, its tiles.
    projector: features of images to the language model's width.
    """

    projections: int
    lightning: int
    softmax: int
    router: int
    experts: int
    head: int
    tower: int = 0
    projector: int = 0

    @property
    def forward(self) -> int:
        """FLOPs of the forward pass."""
        return self.language + self.tower + self.projector

    @property
    def language(self) -> int:
        """FLOPs of the forward pass of the language model."""
        return (
            self.projections
            + self.lightning
            + self.softmax
            + self.router
            + self.experts
            + self.head
        )

    @property
    def training(self) -> int:
        """FLOPs of a forward and a backward pass."""
        return TRAINING_PASSES * self.forward

    def training_of(self, parts: Collection[str]) -> int:
        """FLOPs of both passes where only some parts are trained (``trainer.vision.parts``).

        Of a frozen part that gradients go through, the products by weights' gradients fall away; of
        a frozen part that nothing trained comes before, the backward pass does.
        """
        total, before = 0, False
        for part, flops in (
            ("vision", self.tower), ("projector", self.projector), ("language", self.language),
        ):  # fmt: skip
            trained = part in parts
            total += flops * (TRAINING_PASSES if trained else 2 if before else 1)
            before |= trained
        return total


def count_flops(
    recipe: ModelRecipe,
    segments: Sequence[int] | npt.NDArray[np.int64],
    vocab_size: int,
    block: int = BLOCK,
    tiles: int = 0,
    features: int = 0,
) -> Flops:
    """FLOPs of a forward pass over segments, each of which attends to itself only.

    Parameters
    ----------
    recipe: the model.
    segments: tokens of each segment, as between the entries of ``cu_seqlens``; [segments].
    vocab_size: logits that count, without padding.
    block: tokens of a lightning block.
    tiles: of all images.
    features: that their plans keep, without newlines; these are tokens of the segments too.

    Raises
    ------
    ValueError
        If a mixer has no count here, or there are images for a model without a tower.
    """
    lengths = np.asarray(segments, np.int64)
    tokens = int(lengths.sum())
    h, inner = recipe.hidden, recipe.heads * recipe.head_dim
    projections = 0
    mixing = dict.fromkeys(_MIXERS, 0)
    for layer in range(recipe.layers):
        name = recipe.mixer_of(layer)
        if name not in _MIXERS:
            raise ValueError(
                f"model {recipe.name}: found mixer {name!r}, expected one of "
                f"{', '.join(sorted(_MIXERS))}, whose FLOPs are known; add its count to "
                "trainer/flops.py"
            )
        width, mixed = _MIXERS[name](recipe, lengths, block)
        projections += 2 * tokens * h * width
        mixing[name] += mixed
    experts = recipe.experts
    return Flops(
        projections=projections + recipe.layers * 2 * tokens * inner * h,
        lightning=mixing["lightning"],
        softmax=mixing["softmax"],
        router=recipe.layers * 2 * tokens * h * experts.count,
        experts=recipe.layers * 2 * tokens * 3 * h * experts.ffn * experts.top_k,
        head=2 * tokens * h * vocab_size,
        tower=tiles * _tile(recipe, tiles),
        projector=features * _feature(recipe, features),
    )


def _tile(recipe: ModelRecipe, tiles: int) -> int:
    """Of the tower, for one tile: patches, four projections, attention, two layers of the MLP."""
    if not tiles:
        return 0
    vision = _vision(recipe, tiles, "tiles")
    n, h = vision.positions, vision.hidden
    patches = 2 * vision.features * CHANNELS * vision.patch**2 * h
    layer = 2 * n * (4 * h * h + 2 * h * vision.ffn) + 4 * n * n * h
    return patches + vision.layers * layer


def _feature(recipe: ModelRecipe, features: int) -> int:
    """Of the projector, for one feature."""
    if not features:
        return 0
    vision = _vision(recipe, features, "features")
    return 2 * (vision.hidden * recipe.hidden + recipe.hidden**2)


def _vision(recipe: ModelRecipe, count: int, what: str) -> VisionRecipe:
    if recipe.vision is None:
        raise ValueError(
            f"model {recipe.name}: found {count} {what} of images, expected none: it has no vision "
            "block"
        )
    return recipe.vision


def _lightning(recipe: ModelRecipe, lengths: npt.NDArray[np.int64], block: int) -> tuple[int, int]:
    """Output width of the input projections (q, k, v and gate), and the FLOPs of the mixing.

    Every token updates a state of d x d a head by the outer product of its key and value and reads
    it by its query; inside its block it also meets the tokens up to itself as softmax does.
    """
    full, rest = np.divmod(lengths, block)
    pairs = int((full * (block * (block + 1) // 2) + rest * (rest + 1) // 2).sum())
    state = 4 * int(lengths.sum()) * recipe.head_dim**2
    mixing = recipe.heads * (state + 4 * pairs * recipe.head_dim)
    return 4 * recipe.heads * recipe.head_dim, mixing


def _softmax(recipe: ModelRecipe, lengths: npt.NDArray[np.int64], _block: int) -> tuple[int, int]:
    """Output width of the input projections (q, and grouped k and v), and FLOPs of the mixing."""
    # In Python's integers: a segment of 2³² tokens squared would wrap around in int64.
    pairs = sum(n * (n + 1) // 2 for n in lengths.tolist())
    width = (recipe.heads + 2 * recipe.kv_heads) * recipe.head_dim
    return width, 4 * recipe.heads * recipe.head_dim * pairs


_Count = Callable[[ModelRecipe, npt.NDArray[np.int64], int], tuple[int, int]]
_MIXERS: dict[str, _Count] = {"lightning": _lightning, "softmax": _softmax}


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
