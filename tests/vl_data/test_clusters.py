"""Duplicate images: found as the definition says, all of them, and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.vl_data.made_images import encode, pixels
from vl_data.clusters import (
    ASPECT_PARTS,
    EXACT,
    KEPT,
    LEVELS,
    NEAR,
    PIXELS,
    band_keys,
    cluster_images,
)
from vl_data.decode import decode_image
from vl_data.hashes import colour_thumbnail, hamming
from vl_data.hygiene import inspect

Row = dict[str, Any]


def row(number: int, **given: Any) -> Row:
    """An image unlike all others, but for what is given."""
    own = np.random.default_rng(number)
    plain: Row = {
        "digest": own.bytes(32),
        "pixels": own.bytes(16),
        "phash": int(own.integers(0, 2**64, dtype=np.uint64)),
        "width": 400,
        "height": 300,
        "blank": False,
    }
    return plain | given


def facts_row(image: Image.Image) -> Row:
    facts = inspect(encode(image, "png"))
    return {name: getattr(facts, name) for name in row(0)}


def table(rows: list[Row]) -> pa.Table:
    types = {
        "digest": pa.binary(32),
        "pixels": pa.binary(16),
        "phash": pa.uint64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "blank": pa.bool_(),
    }
    return pa.table({name: pa.array([r[name] for r in rows], t) for name, t in types.items()})


def looks(seed: int, count: int) -> NDArray[np.uint8]:
    """Thumbnails of few kinds, some just within and some just beyond what may differ."""
    draw = np.random.default_rng(seed)
    base = np.full((count, 32, 32, 3), 100, np.uint8)
    base[:, 31, 31, 2] += draw.choice([0, LEVELS, LEVELS + 1], count).astype(np.uint8)
    return base


def by_definition(
    rows: list[Row], distance: int, seen: NDArray[np.uint8] | None = None
) -> list[tuple[int, int]]:
    """(kind, survivor) of each row, by comparing every row with every kept one before it."""
    outcome: list[tuple[int, int]] = []
    for i, this in enumerate(rows):
        first = next(j for j in range(i + 1) if rows[j]["pixels"] == this["pixels"])
        if first < i:
            kind = EXACT if rows[first]["digest"] == this["digest"] else PIXELS
            near, survivor = outcome[first]
            outcome.append((NEAR, survivor) if near == NEAR else (kind, first))
            continue
        found = (KEPT, i)
        for j in range(i):
            other = rows[j]
            a, b = this["width"] * other["height"], other["width"] * this["height"]
            if (
                outcome[j][0] == KEPT
                and not this["blank"]
                and not other["blank"]
                and (this["phash"] ^ other["phash"]).bit_count() <= distance
                and abs(a - b) * ASPECT_PARTS <= max(a, b)
                and (seen is None or np.abs(seen[i].astype(int) - seen[j]).max() <= LEVELS)
            ):
                found = (NEAR, j)
                break
        outcome.append(found)
    return outcome


def crowd(seed: int, count: int) -> list[Row]:
    """Rows around few centres, so that pairs of every distance and aspect occur."""
    draw = np.random.default_rng(seed)
    centres = draw.integers(0, 2**64, 6, dtype=np.uint64)
    rows = []
    for i in range(count):
        value = int(centres[draw.integers(0, 6)])
        for bit in draw.integers(0, 64, int(draw.integers(0, 9))):
            value ^= 1 << int(bit)
        rows.append(
            row(
                10_000 * seed + i,
                phash=value,
                width=int(draw.choice([400, 400, 404, 409, 300])),
                blank=bool(draw.random() < 0.05),
            )
        )
        if i and draw.random() < 0.3:
            other = rows[int(draw.integers(0, i))]
            same = ("pixels", "phash", "width", "height", "blank")
            keys = ("digest", *same) if draw.random() < 0.5 else same
            rows[-1] |= {key: other[key] for key in keys}
    return rows


@pytest.mark.parametrize("distance", [0, 3, 4, 7])
def test_the_definition_by_brute_force(distance: int, tmp_path: Path) -> None:
    kinds = set()
    for seed in range(6):
        rows = crowd(seed, 150)
        found = cluster_images(table(rows), tmp_path, distance)
        wanted = by_definition(rows, distance)
        assert list(zip(found.kind.tolist(), found.survivor.tolist(), strict=True)) == wanted
        kinds |= set(found.kind.tolist())
        for i, (kind, survivor) in enumerate(wanted):
            assert found.cluster[i] <= survivor <= i
            assert found.cluster[i] == found.cluster[survivor]
            apart = int(hamming(rows[i]["phash"], rows[survivor]["phash"]))
            assert found.distance[i] == (apart if kind == NEAR else 0)
    assert kinds == {KEPT, EXACT, PIXELS, NEAR}


def test_what_images_look_like_is_verified(tmp_path: Path) -> None:
    differ = 0
    for seed in range(6):
        rows, seen = crowd(seed, 150), looks(seed, 150)
        found = cluster_images(table(rows), tmp_path, thumbnails=seen.__getitem__)
        wanted = by_definition(rows, 4, seen)
        assert list(zip(found.kind.tolist(), found.survivor.tolist(), strict=True)) == wanted
        differ += wanted != by_definition(rows, 4)
    assert differ
    with pytest.raises(ValueError, match=r"thumbnails: found uint8\[1, 2\], expected uint8\["):
        cluster_images(table(rows), tmp_path, thumbnails=lambda _: np.zeros((1, 2), np.uint8))


def drawing(moved: int) -> Image.Image:
    """Shapes on gray, as in a counting question; one of them stands elsewhere."""
    image = Image.new("RGB", (400, 400), (220, 220, 220))
    for place in range(4):
        image.paste((20, 20, 20), (20 + 90 * place, 30, 60 + 90 * place, 70))
    image.paste((20, 60, 200), (200 + moved, 250, 215 + moved, 265))
    return image


def test_copies_are_found_and_drawings_that_differ_in_a_shape_are_not(tmp_path: Path) -> None:
    whole = drawing(0)
    photo = Image.fromarray(pixels(640, 480))
    images = [
        whole,
        drawing(40),
        whole.resize((300, 300), Image.Resampling.BICUBIC),
        photo,
        decode_image(encode(photo, "jpeg", quality=50)).shown(),
        photo.resize((320, 240), Image.Resampling.BICUBIC),
        photo.crop((0, 0, 480, 480)),
    ]
    rows = table([facts_row(image) for image in images])
    seen = np.stack([colour_thumbnail(image) for image in images])
    found = cluster_images(rows, tmp_path, thumbnails=lambda some: seen[some])
    assert found.survivor.tolist() == [0, 1, 0, 3, 3, 3, 6]
    assert found.kind.tolist() == [KEPT, KEPT, NEAR, KEPT, NEAR, NEAR, KEPT]
    assert cluster_images(rows, tmp_path).survivor[1] == 0, "the hash alone cannot tell"


@given(st.integers(0, 2**64 - 1), st.integers(0, 12), st.data())
def test_no_near_pair_is_missed(value: int, distance: int, data: st.DataObject) -> None:
    flips = data.draw(st.sets(st.integers(0, 63), max_size=distance))
    other = value
    for bit in flips:
        other ^= 1 << bit
    keys = band_keys(np.array([value, other], np.uint64), distance)
    assert keys.shape == (len(list(itertools.combinations(range(distance + 2), 2))), 2)
    assert (keys[:, 0] == keys[:, 1]).any()


def test_neither_memory_nor_chunks_decide(tmp_path: Path) -> None:
    rows = table(crowd(9, 400))
    whole = cluster_images(rows, tmp_path / "a")
    pieces = pa.concat_tables([rows.slice(at, 37) for at in range(0, 400, 37)])
    small = cluster_images(pieces, tmp_path / "b", memory_bytes=1)
    assert (whole.kind == small.kind).all()
    assert (whole.survivor == small.survivor).all()
    assert (whole.cluster == small.cluster).all()


def test_blank_images_are_near_to_nothing(tmp_path: Path) -> None:
    rows = [row(i, phash=0, blank=True) for i in range(3)] + [row(9, phash=0)]
    assert not cluster_images(table(rows), tmp_path).kind.any()


def test_without_a_distance_only_equal_pixels_count(tmp_path: Path) -> None:
    rows = crowd(2, 100)
    found = cluster_images(table(rows), tmp_path, None)
    assert found.compared == 0
    first = {r["pixels"]: i for i, r in reversed(list(enumerate(rows)))}
    assert found.survivor.tolist() == [first[r["pixels"]] for r in rows]


def test_none_and_one(tmp_path: Path) -> None:
    assert cluster_images(table([]), tmp_path).kind.shape == (0,)
    assert cluster_images(table([row(1)]), tmp_path).survivor.tolist() == [0]


def test_errors_name_the_column(tmp_path: Path) -> None:
    rows = table([row(1)])
    with pytest.raises(ValueError, match="found no column 'phash'"):
        cluster_images(rows.drop_columns("phash"), tmp_path)
    with pytest.raises(ValueError, match="'phash' of type int64"):
        cluster_images(rows.set_column(2, "phash", pa.array([1])), tmp_path)
    with pytest.raises(ValueError, match="distance: found 13"):
        cluster_images(rows, tmp_path, 13)
    with pytest.raises(ValueError, match="levels: found 256"):
        cluster_images(rows, tmp_path, levels=256)
