"""Bytes made into what a tower takes: the same bits wherever it is done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.trainer.vision.cases import LENGTH, batch, build, recipe
from trainer.models.segments import pack
from trainer.vision.images import Images
from trainer.vision.pixels import normalised
from vl_data.pixels import normalise
from vl_data.tiling import Tiling, plan

_ONE_TILE = plan(90, 90, Tiling("one tile", 16, 8))

pytestmark = pytest.mark.usefixtures("alone")


def test_every_byte_of_every_channel_is_the_tables() -> None:
    tiles = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert np.array_equal(normalised(torch.from_numpy(tiles)).numpy(), normalise(tiles))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_makes_the_same_bits() -> None:
    tiles = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    images = Images(torch.from_numpy(tiles), (_ONE_TILE,), torch.arange(4)).pinned()
    assert images.pixels.is_pinned()
    assert images.places is not None
    assert images.places.is_pinned()
    found = images.to("cuda").normalised()
    assert found.device.type == "cuda"
    assert np.array_equal(found.cpu().numpy(), normalise(tiles))


def test_a_model_takes_bytes_as_it_takes_floats() -> None:
    draw = np.random.default_rng(0)
    one = batch()[0]
    assert one.images is not None
    tiles = draw.integers(0, 256, (len(one.images.pixels), 56, 56, 3), np.uint8)
    bytes_, floats = (
        replace(one.images, pixels=torch.from_numpy(x)) for x in (tiles, normalise(tiles))
    )
    model = build(recipe())
    packed = pack(one.cu_seqlens, LENGTH)
    found = [model(one.tokens, packed_seq_params=packed, images=x) for x in (bytes_, floats)]
    assert torch.equal(*found)
    places = (one.tokens == 2).nonzero().squeeze(1)
    known = replace(bytes_, places=places)
    assert torch.equal(model(one.tokens, packed_seq_params=packed, images=known), found[0])
    few = replace(bytes_, places=places[1:])
    with pytest.raises(ValueError, match=r"found \d+ places of the image token 2"):
        model(one.tokens, packed_seq_params=packed, images=few)


def test_pixels_of_another_shape_are_refused() -> None:
    one = plan(56, 56, "tiny56")
    with pytest.raises(ValueError, match=r"found torch.uint8 pixels of shape \(2, 3, 56, 56\)"):
        Images(torch.zeros(2, 3, 56, 56, dtype=torch.uint8), (one,))
    with pytest.raises(ValueError, match=r"found torch.float32 pixels of shape \(2, 56, 56, 3\)"):
        Images(torch.zeros(2, 56, 56, 3), (one,))
