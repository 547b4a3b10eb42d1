"""Pixels as shown, whatever the mode, the depth, the alpha and the orientation of the file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.vl_data.made_images import encode, pixels
from vl_data.decode import decode, decode_image
from vl_data.hygiene import inspect
from vl_data.refusals import ImageRefused

SHOWN = pixels(60, 40)


def test_lossless_formats_give_the_pixels_back() -> None:
    for name in ("png", "bmp", "tiff", "jp2"):
        found = decode(encode(SHOWN, name))
        assert found.dtype == np.uint8
        assert np.array_equal(found, SHOWN), name
    assert np.array_equal(decode(encode(SHOWN, "webp", lossless=True)), SHOWN)


def exif(turn: int) -> Image.Exif:
    """A new one for each file: an encoder may take the tag out of it."""
    block = Image.Exif()
    block[0x0112] = turn
    return block


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(name: str, turn: int) -> None:
    """Stored so that turning it as EXIF says shows the picture (TIFF 6.0, tag 274)."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, 3),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[turn](SHOWN)))
    found = decode(encode(stored, name, exif=exif(turn)))
    assert found.shape == SHOWN.shape
    assert np.abs(found.astype(int) - SHOWN).mean() < 12
    larger = stored.resize((8 * stored.width, 8 * stored.height))
    facts = inspect(encode(larger, name, exif=exif(turn)))
    assert (facts.width, facts.height) == (480, 320)


def test_broken_exif_turns_nothing() -> None:
    found = decode(encode(SHOWN, "jpeg", exif=b"Exif\0\0MM\0*\0\0\xff\xff"))
    assert found.shape == SHOWN.shape


def test_alpha_lies_on_white() -> None:
    alpha = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    rgba = np.dstack([SHOWN, alpha])
    weight = alpha[..., None] / 255
    wanted = SHOWN * weight + 255 * (1 - weight)
    for name in ("png", "tiff"):
        assert np.abs(decode(encode(rgba, name)) - wanted).max() <= 1
    gray_alpha = np.dstack([SHOWN[..., 0], alpha])
    found = decode(encode(Image.fromarray(gray_alpha, "LA"), "png"))
    assert (
        np.abs(found[..., 0] - (SHOWN[..., 0] * weight[..., 0] + 255 * (1 - weight[..., 0]))).max()
        <= 1
    )


def test_opaque_alpha_is_no_alpha() -> None:
    opaque = np.dstack([SHOWN, np.full((40, 60), 255, np.uint8)])
    assert decode_image(encode(opaque, "png")).alpha is None
    assert np.array_equal(decode(encode(opaque, "png")), SHOWN)


def test_palettes_and_their_transparency() -> None:
    image = Image.fromarray(SHOWN).quantize(16)
    assert np.array_equal(decode(encode(image, "png")), np.asarray(image.convert("RGB")))
    assert np.array_equal(decode(encode(image, "gif")), np.asarray(image.convert("RGB")))
    index = int(np.asarray(image)[0, 0])
    found = decode(encode(image, "png", transparency=index))
    clear = np.asarray(image) == index
    assert (found[clear] == 255).all()
    assert np.array_equal(found[~clear], np.asarray(image.convert("RGB"))[~clear])


def test_a_colour_that_stands_for_transparent() -> None:
    corner = tuple(int(v) for v in SHOWN[0, 0])
    found = decode(encode(SHOWN, "png", transparency=corner))
    assert (found[0, 0] == 255).all()


def test_cmyk() -> None:
    image = Image.fromarray(SHOWN).convert("CMYK")
    found = decode(encode(image, "tiff"))
    assert np.array_equal(found, np.asarray(image.convert("RGB")))
    assert np.abs(decode(encode(image, "jpeg", quality=95)).astype(int) - found).mean() < 6


def test_sixteen_bits_keep_their_high_byte() -> None:
    wide = np.linspace(0, 65535, 2400).astype(np.uint16).reshape(40, 60)
    for name in ("png", "tiff", "jp2"):
        found = decode(encode(wide, name))
        assert np.array_equal(found[..., 0], wide >> 8), name
        assert np.array_equal(found[..., 0], found[..., 2])


def test_floats_one_bit_and_gray() -> None:
    ramp = np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)
    assert np.array_equal(decode(encode(ramp, "tiff"))[..., 0], np.rint(ramp * 255))
    assert np.array_equal(decode(encode(ramp * 200, "tiff"))[..., 0], np.rint(ramp * 200))
    odd = ramp.copy()
    odd[0, :3] = np.nan, np.inf, -np.inf
    assert decode(encode(odd * 255, "tiff"))[0, :3, 0].tolist() == [0, 255, 0]
    bits = Image.fromarray(SHOWN).convert("1")
    assert np.array_equal(decode(encode(bits, "png")), np.asarray(bits.convert("RGB")))
    gray = SHOWN[..., 1]
    assert np.array_equal(decode(encode(gray, "png"))[..., 2], gray)


def test_lab_is_converted() -> None:
    lab = Image.new("LAB", (60, 40), (128, 128, 128))
    found = decode(encode(lab, "tiff"))
    assert np.abs(found.astype(int) - 119).max() < 4  # L* 50 in sRGB


@pytest.mark.parametrize("name", ["gif", "webp", "png", "avif"])
def test_the_first_frame_of_an_animation(name: str) -> None:
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "lime", "blue")]
    found = decode(encode(frames[0], name, save_all=True, append_images=frames[1:]))
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 3


def test_decoding_is_safe_at_any_size_and_nothing_else_is_asked() -> None:
    assert decode(encode(SHOWN[:1, :1], "png")).shape == (1, 1, 3)
    assert decode(encode(pixels(3000, 2), "png")).shape == (2, 3000, 3)
    with pytest.raises(ImageRefused, match="image-empty"):
        decode(b"")
