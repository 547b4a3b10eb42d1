"""FLOPs of tower and projector against those that torch counts of the plain reference."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.trainer.vision.cases import VOCAB, recipe
from trainer.convert.names import parameters
from trainer.flops import count_flops
from trainer.stages.loading import load_model
from trainer.vision.reference import VisionReference

MODEL = recipe()
OWNERS = {"vision_tower": "vision", "multi_modal_projector": "projector"}
"""Parts of a model by what the released names of their tensors begin with."""


def test_counts_are_torchs() -> None:
    """Forward and backward; of pixels there is no gradient, so patches are multiplied twice."""
    vision = MODEL.vision
    assert vision is not None
    weights = {
        key: torch.zeros(shape, requires_grad=True)
        for one in parameters(MODEL, VOCAB).values()
        for key, shape in one.keys.items()
    }
    reference = VisionReference(vision, weights)
    counted = count_flops(MODEL, [5], VOCAB, tiles=3, features=40)
    with FlopCounterMode(display=False) as counter:
        features = reference.tower(torch.zeros(3, 3, 56, 56))
    assert counter.get_total_flops() == counted.tower
    kept = features.flatten(0, 1)[:40]
    with FlopCounterMode(display=False) as counter:
        projected = reference.project(kept)
    assert counter.get_total_flops() == counted.projector
    with FlopCounterMode(display=False) as counter:
        projected.sum().backward()  # type: ignore[no-untyped-call]
    patches = 2 * 3 * 16 * 588 * vision.hidden
    assert counted.tower_input == patches
    images = counted.tower + counted.projector
    assert counter.get_total_flops() == 2 * images - patches
    assert counted.training == 3 * counted.forward - patches
    text = count_flops(MODEL, [5], VOCAB)
    assert counted.language == text.forward == counted.forward - images


def test_of_what_is_frozen_products_fall_away() -> None:
    """Against torch's count of the reference's backward pass, of which each part may be frozen."""
    vision = MODEL.vision
    assert vision is not None
    pixels = torch.zeros(2, 3, 56, 56)
    for parts in (("vision",), ("projector",), ("vision", "projector")):
        weights = {
            key: torch.zeros(shape, requires_grad=owner in parts)
            for one in parameters(MODEL, VOCAB).values()
            for key, shape in one.keys.items()
            for owner in [OWNERS.get(key.split(".")[0], "language")]
        }
        reference = VisionReference(vision, weights)
        with FlopCounterMode(display=False) as counter:
            kept = reference.tower(pixels).flatten(0, 1)[:20]
            reference.project(kept).sum().backward()  # type: ignore[no-untyped-call]
        counted = count_flops(MODEL, [0], VOCAB, tiles=2, features=20, labels=0)
        assert counted.language == 0
        assert counter.get_total_flops() == counted.training_of(parts)


def test_the_head_is_for_labels() -> None:
    every, some = (count_flops(MODEL, [7, 5], VOCAB, labels=labels) for labels in (None, 4))
    assert some.head * 3 == every.head == count_flops(MODEL, [7, 5], VOCAB, labels=12).head
    assert some.forward - some.head == every.forward - every.head


def test_by_hand_for_minimax_vl_01() -> None:
    """A tile: twice the 302M of 24 blocks' matrices over 577 positions, and their attention."""
    model = load_model("minimax-vl-01")
    counted = count_flops(model, [576], 200_064, tiles=1, features=576)
    blocks = 24 * (577 * 2 * 12 * 1024**2 + 4 * 577**2 * 1024)
    assert counted.tower == blocks + 576 * 2 * 588 * 1024
    assert counted.projector == 576 * 2 * (1024 * 6144 + 6144**2)


def test_frozen_parts_cost_less() -> None:
    counted = count_flops(MODEL, [20], VOCAB, tiles=2, features=10)
    tower, projector, language = counted.tower, counted.projector, counted.language
    for parts, passes in (
        (("vision", "projector", "language"), (3, 3, 3)),
        (("vision", "projector"), (3, 3, 2)),
        (("projector",), (1, 3, 2)),
        (("language",), (1, 1, 3)),
        (("vision",), (3, 2, 2)),
    ):
        expected = sum(n * one for n, one in zip(passes, (tower, projector, language), strict=True))
        first = {"vision": counted.tower_input, "projector": counted.projector_input}
        assert counted.training_of(parts) == expected - first.get(parts[0], 0)
    assert counted.training_of(("vision", "projector", "language")) == counted.training


def test_images_of_a_model_without_a_tower() -> None:
    with pytest.raises(ValueError, match="found 2 tiles of images, expected none"):
        count_flops(recipe(vision=None), [5], VOCAB, tiles=2)
