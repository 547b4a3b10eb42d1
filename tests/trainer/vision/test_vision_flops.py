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
    both = 2 * (counted.tower + counted.projector)
    assert counter.get_total_flops() == both - patches
    text = count_flops(MODEL, [5], VOCAB)
    assert counted.language == text.forward == counted.forward - both // 2


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
        assert counted.training_of(parts) == expected
    assert counted.training_of(("vision", "projector", "language")) == counted.training


def test_images_of_a_model_without_a_tower() -> None:
    with pytest.raises(ValueError, match="found 2 tiles of images, expected none"):
        count_flops(recipe(vision=None), [5], VOCAB, tiles=2)
