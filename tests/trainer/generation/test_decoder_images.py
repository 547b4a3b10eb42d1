"""Prompts with images read at once, and token by token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.trainer.vision.cases import IMAGE, ONE_TILE, VOCAB, pixels_of, recipe
from trainer.convert.names import parameters, text_key
from trainer.generation.decoder import Decoder
from trainer.generation.vision_encoder import VisionEncoder
from trainer.vision.images import Images
from trainer.vision.reference import VisionLanguageReference
from vl_data.pixels import normalise
from vl_data.tiling import Plan, plan

MODEL = recipe(layers=3, mixers=["lightning", "lightning", "softmax"])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Random ones under the released names, gains about one."""
    draw = torch.Generator().manual_seed(3)
    found = {}
    for parameter in parameters(MODEL, VOCAB).values():
        for key, shape in parameter.keys.items():
            noise = torch.randn(shape, generator=draw)
            gain = "norm" in key and key.endswith("weight")
            found[key] = 1 + 0.1 * noise if gain else noise * shape[-1] ** -0.5
    return found


@pytest.fixture(scope="module")
def decoder(weights: dict[str, torch.Tensor]) -> Decoder:
    text = {bare: one for key, one in weights.items() if (bare := text_key(key)) is not None}
    sees = {key: one for key, one in weights.items() if text_key(key) is None}
    return Decoder(MODEL, text, 10_000.0, VisionEncoder(MODEL, sees, "tiny56"))


def prompt(seed: int, length: int, *images: tuple[int, Plan]) -> torch.Tensor:
    """Random ids, with each image at its place."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCAB, (length,), generator=draw)
    for place, one in images:
        ids[place : place + one.tokens] = IMAGE
    return ids


SMALL, WIDE, TILE = plan(40, 60, "tiny56"), plan(300, 120, "tiny56"), plan(90, 90, ONE_TILE)
PLANS = (SMALL, TILE, WIDE)
PROMPTS = [prompt(0, 90, (0, SMALL), (60, TILE)), prompt(1, 7), prompt(2, 110, (20, WIDE))]


def wanted(weights: dict[str, torch.Tensor], ids: list[torch.Tensor]) -> torch.Tensor:
    """The plain model's logits of prompts end to end."""
    plain = VisionLanguageReference(MODEL, weights)
    ends = torch.tensor([0, *(len(one) for one in ids)]).cumsum(0)
    return plain.packed(torch.cat(ids), ends, pixels_of(PLANS), PLANS)


def test_cached_logits_are_the_whole_models_at_every_step(
    decoder: Decoder, weights: dict[str, torch.Tensor]
) -> None:
    images = Images(pixels_of(PLANS), PLANS)
    memory, found = decoder.prefill(PROMPTS, images)
    ids = list(PROMPTS)
    for step in range(6):
        ends = torch.tensor([len(one) for one in ids]).cumsum(0)
        expected = wanted(weights, ids)[ends - 1]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        drawn = found.argmax(-1) if step % 2 else torch.tensor([5 + step, 9, 200 - step])
        ids = [torch.cat([one, token[None]]) for one, token in zip(ids, drawn, strict=True)]
        found = decoder.step(memory, drawn)


def test_scores_of_prompts_with_images_are_the_plain_models(
    decoder: Decoder, weights: dict[str, torch.Tensor]
) -> None:
    scores = decoder.score(PROMPTS, Images(pixels_of(PLANS), PLANS))
    start = 0
    expected = wanted(weights, PROMPTS).log_softmax(-1)
    for one, score in zip(PROMPTS, scores, strict=True):
        rows = expected[start : start + len(one) - 1].gather(1, one[1:, None])[:, 0]
        torch.testing.assert_close(score, rows, rtol=1e-4, atol=1e-4)
        start += len(one)


def test_bytes_are_what_their_normalised_tiles_are(decoder: Decoder) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (len(WIDE.tiles), 56, 56, 3), np.uint8)
    as_bytes = Images(torch.from_numpy(tiles), (WIDE,))
    as_floats = Images(torch.from_numpy(normalise(tiles)), (WIDE,))
    assert decoder.vision is not None
    assert torch.equal(decoder.vision.features(as_bytes), decoder.vision.features(as_floats))


def test_images_without_their_places_are_refused(decoder: Decoder) -> None:
    images = Images(pixels_of([SMALL]), (SMALL,))
    with pytest.raises(ValueError, match=rf"found 0 places .* and {SMALL.tokens} features"):
        decoder.prefill([PROMPTS[1]], images)
    blind = Decoder(recipe(vision=None), decoder.weights, 10_000.0)
    with pytest.raises(ValueError, match="found 1 for model small-vl, expected none"):
        blind.prefill(PROMPTS[:1], images)
