"""No image is trusted: what is bad is refused with a reason, before it costs anything."""

from __future__ import annotations

import pickle
import struct
import zlib

import blake3
import numpy as np
import pytest
from PIL import Image

from tests.vl_data.made_images import (
    ENCODERS,
    adam7,
    chunk,
    encode,
    gif,
    jpeg_of_height,
    pixels,
    png,
    png_rows,
)
from vl_data.formats import FORMATS, sniff
from vl_data.hygiene import ImageRefused, Limits, inspect
from vl_data.images import Facts
from vl_data.limits import ANY_SIZE
from vl_data.refusals import REASONS


def refusal(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ImageRefused) as caught:
        inspect(data, limits or Limits())
    assert caught.value.detail in str(caught.value)
    return caught.value.reason


def bomb_of_text() -> bytes:
    """64 MB of text in a few kilobytes of PNG."""
    body = b"comment\0\0" + zlib.compress(b"a" * (64 << 20), 9)
    return png(200, 200, png_rows(200, 200), False, chunk(b"zTXt", body))


def progressive(scans: int) -> bytes:
    data = encode(pixels(200, 200), "jpeg", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


SVG_BOMB = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>
<svg xmlns="http://www.w3.org/2000/svg"><text>&b;</text></svg>"""


@pytest.mark.parametrize("name", list(ENCODERS))
def test_facts_of_every_format(name: str) -> None:
    data = encode(pixels(240, 160), name)
    found = inspect(data)
    assert isinstance(found, Facts)
    assert (found.format, found.width, found.height, found.frames) == (name, 240, 160, 1)
    assert found.bytes == len(data)
    assert found.digest == blake3.blake3(data).digest()
    assert len(found.pixels) == 16
    assert 0 <= found.phash < 1 << 64
    assert not found.blank
    assert sniff(data) is FORMATS[name]


BAD = {
    "zero bytes": (b"", "image-empty"),
    "no image": (b"just some words, at least a few", "image-format"),
    "a page instead": (b"<!DOCTYPE html><title>404</title>", "image-format"),
    "SVG bomb": (SVG_BOMB, "image-format"),
    "SVG": (b"<svg viewBox='0 0 9 9'/>", "image-format"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0", "image-format"),
    "strip": (encode(pixels(30_000, 10), "png"), "image-aspect"),
    "tracking pixel": (encode(pixels(1, 1), "gif"), "image-too-small"),
    "149 pixels": (encode(pixels(149, 200), "png"), "image-too-small"),
    "bomb in the header": (png(50_000, 50_000, b""), "image-bomb"),
    "larger than any bound": (png(1 << 30, 1 << 30, b""), "image-bomb"),
    "scans": (progressive(200), "image-bomb"),
    "10,000 frames": (gif(200, 200, 10_000), "image-frames"),
    "fewer rows than said": (png(200, 200, png_rows(200, 120)), "image-lying"),
    "one row fewer": (png(200, 200, png_rows(200, 199)), "image-lying"),
    "fewer passes than said": (png(200, 200, adam7(pixels(200, 200), 6), True), "image-lying"),
    "taller than its data": (
        jpeg_of_height(encode(pixels(200, 200), "jpeg"), 300),
        "image-lying",
    ),
    "cut and ended": (encode(pixels(200, 200), "jpeg")[:2500] + b"\xff\xd9", "image-lying"),
    "wrong checksum": (
        png(200, 200, png_rows(200, 200)).replace(b"IDAT", b"IDAU"),
        "image-corrupt",
    ),
    "a head alone": (b"\xff\xd8\xff\xe0" + b"\0" * 60 + b"\xff\xd9", "image-corrupt"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_has_its_reason(case: str) -> None:
    data, reason = BAD[case]
    assert refusal(data) == reason
    assert reason in REASONS


@pytest.mark.parametrize("name", list(ENCODERS))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_ends_early(name: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    data = encode(noise, name)
    reason = refusal(data[: int(len(data) * share)])
    # JPEG 2000 has no end to look for, and its decoder says only that the stream is broken.
    assert reason in ("image-truncated", "image-corrupt")
    if name != "jp2":
        assert reason == "image-truncated"


def test_a_text_bomb_is_not_unpacked() -> None:
    data = bomb_of_text()
    assert len(data) < 1 << 20
    assert refusal(data) in ("image-corrupt", "image-bomb")


def test_limits_are_inclusive() -> None:
    square = encode(pixels(200, 200), "png")
    assert inspect(square, Limits(min_side=200, max_side=200, max_pixels=40_000)).width == 200
    assert refusal(square, Limits(min_side=201)) == "image-too-small"
    assert refusal(square, Limits(max_side=199)) == "image-too-large"
    assert refusal(square, Limits(max_pixels=39_999)) == "image-bomb"
    assert refusal(square, Limits(max_bytes=len(square) - 1)) == "image-too-large"
    assert inspect(square, Limits(max_bytes=len(square))).bytes == len(square)
    for size in ((300, 150), (150, 300)):
        assert inspect(encode(pixels(*size), "png")).frames == 1
    assert refusal(encode(pixels(301, 150), "png")) == "image-aspect"
    ten = gif(200, 200, 10)
    assert inspect(ten, Limits(max_frames=10)).frames == 10
    assert refusal(ten, Limits(max_frames=9)) == "image-frames"


def test_frames_of_animations_and_pages() -> None:
    stills = [Image.fromarray(pixels(160, 160, seed)) for seed in range(3)]
    for name in ("gif", "webp", "png", "avif", "tiff"):
        data = encode(stills[0], name, save_all=True, append_images=stills[1:])
        assert inspect(data).frames == 3, name
    # A GIF's local palettes and extensions are walked over, whatever their lengths.
    for colours in (2, 16, 256):
        few = [still.quantize(colours) for still in stills]
        data = encode(few[0], "gif", save_all=True, append_images=few[1:], comment=b"x" * 700)
        assert inspect(data).frames == 3


def test_a_chain_of_pages_that_is_a_loop_ends() -> None:
    data = bytearray(encode(pixels(160, 160), "tiff"))
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    assert inspect(bytes(data)).frames == 1


@pytest.mark.parametrize("cut", [False, True])
def test_pictures_that_end_in_the_fill_of_decoders_are_kept(cut: bool) -> None:
    """Black and clear last rows of a PNG, gray ones of a JPEG: looked at twice, and whole."""
    values = pixels(200, 200).copy()
    values[150:] = 0
    for name in ("png", "tiff"):
        assert inspect(encode(values, name)).height == 200
    assert inspect(png(200, 200, adam7(values), True)).height == 200
    values[150:] = 128
    gray = Image.fromarray(values).convert("L" if cut else "RGB")
    for options in ({}, {"progressive": True}, {"subsampling": 0}):
        assert inspect(encode(gray, "jpeg", **options)).height == 200


def test_more_rows_than_the_header_says_are_left() -> None:
    assert inspect(png(200, 150, png_rows(200, 200))).height == 150


def test_blank_images() -> None:
    for colour in ("white", "black", (12, 200, 99)):
        for name in ENCODERS:
            assert inspect(encode(Image.new("RGB", (300, 200), colour), name)).blank, (colour, name)
    grain = np.random.default_rng(0).integers(233, 248, (400, 400, 3), np.uint8)
    assert inspect(encode(grain, "png")).blank
    clear = Image.fromarray(np.dstack([pixels(200, 200), np.zeros((200, 200), np.uint8)]), "RGBA")
    assert inspect(encode(clear, "png")).blank
    letter = Image.new("RGB", (1000, 1000), "white")
    letter.paste((0, 0, 0), (500, 500, 506, 520))
    assert not inspect(encode(letter, "png")).blank
    isoluminant = Image.new("RGB", (200, 200), (76, 76, 76))
    isoluminant.paste((255, 0, 0), (0, 0, 100, 200))
    assert not inspect(encode(isoluminant, "png")).blank


def test_refusals_travel_between_processes() -> None:
    error = ImageRefused("image-empty", "found 0 bytes")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.detail, str(again)) == (error.reason, error.detail, str(error))


@pytest.mark.parametrize("name", list(ENCODERS))
def test_broken_bytes_never_raise_anything_else(name: str) -> None:
    """Bytes changed, cut out and put in at places drawn by seed: facts or a reason."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    whole = encode(pixels(40, 30), name)
    outcomes, details = set(), []
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(int(draw.integers(1, 6))):
            at = int(draw.integers(0, len(data)))
            kind = int(draw.integers(0, 3))
            if kind == 0:
                data[at] = int(draw.integers(0, 256))
            elif kind == 1:
                del data[at : at + int(draw.integers(1, 9))]
            else:
                data[at:at] = draw.bytes(4)
        try:
            inspect(bytes(data), ANY_SIZE)
            outcomes.add("facts")
        except ImageRefused as error:
            outcomes.add(error.reason)
            details.append(error.detail)
    assert len(outcomes) > 1
    # An address in memory differs from run to run.
    assert not [detail for detail in details if "0x" in detail]
