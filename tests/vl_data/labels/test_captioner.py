"""Captions by an endpoint."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from blake3 import blake3
from PIL import Image

from quality.endpoint.settings import Cost, Endpoint, Model
from quality.endpoint.store import AnswerStore
from tests.quality.endpoint.misbehaving import Server, serving, slow, status
from tests.vl_data.labels.answering import captions, picture_of
from tests.vl_data.made_images import encode, pixels
from vl_data.labels.captioner import EndpointCaptioner
from vl_data.labels.interfaces import Captioner
from vl_data.labels.items import Captionable, Picture
from vl_data.labels.tables import CAPTIONS, about_labels, read_labels, write_labels

WIDE = encode(pixels(64, 32), "png")
TALL = encode(pixels(20, 40, seed=1), "jpeg", quality=95)


def item(data: bytes, caption: str | None = None, name: str = "i") -> Captionable:
    return Captionable(name, Picture(blake3(data).digest(), lambda: data), caption)


def caption(
    server: Server, folder: Path, items: list[Captionable], **settings: Any
) -> tuple[pa.Table, EndpointCaptioner]:
    cost, side = settings.pop("cost", None), settings.pop("side", 1344)
    endpoint = Endpoint(server.url, **{"backoff": 0.01, "attempts": 2, **settings})
    with AnswerStore(folder) as store:
        asker: EndpointCaptioner = EndpointCaptioner(endpoint, Model("toy"), store, cost, side)
        captioner: Captioner = asker
        return captioner.caption(items), asker


def test_a_row_for_each_image_and_source_caption(tmp_path: Path) -> None:
    items = [item(WIDE, "a boat"), item(TALL), item(WIDE, "a ship"), item(WIDE, "a boat", "again")]
    with serving(captions()) as server:
        table, asker = caption(server, tmp_path, items)
    assert table.schema.equals(CAPTIONS)
    found = {(r["digest"], r["caption_digest"]): r for r in table.to_pylist()}
    assert len(found) == table.num_rows == 3
    boat = found[blake3(WIDE).digest(), blake3(b"a boat").digest()]
    assert (boat["caption"], boat["description"]) == ("a boat, refined", "64 by 32")
    assert boat["reason"] is None
    assert boat["detail"] is None
    assert found[blake3(TALL).digest(), None]["description"] == "20 by 40"
    keys = [(r["digest"], r["caption_digest"] or b"") for r in table.to_pylist()]
    assert keys == sorted(keys)
    assert asker.tally is not None
    assert asker.tally.asked == 3


def test_images_are_sent_small_and_without_what_the_file_says_besides(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    exif[0x010E] = "secret place"
    turned = encode(pixels(400, 200), "jpeg", exif=exif)
    out = io.BytesIO()
    Image.fromarray(np.full((60, 60, 4), (0, 0, 0, 0), np.uint8)).save(out, "PNG")
    with serving(captions()) as server:
        caption(server, tmp_path, [item(turned), item(out.getvalue()), item(TALL)], side=100)
    sent = sorted((picture_of(request) for request in server.requests), key=lambda i: i.size)
    assert [image.size for image in sent] == [(20, 40), (50, 100), (60, 60)]
    assert not any(image.getexif() for image in sent)
    assert sent[2].getpixel((30, 30)) == (255, 255, 255)


def test_an_image_that_cannot_be_used_is_a_row(tmp_path: Path) -> None:
    with serving(captions()) as server:
        table, _ = caption(server, tmp_path, [item(b"no image"), item(WIDE), item(WIDE[:-40])])
    rows = {r["digest"]: r for r in table.to_pylist()}
    assert rows[blake3(WIDE).digest()]["reason"] is None
    broken = rows[blake3(b"no image").digest()]
    assert broken["reason"] == "unusable"
    assert "image-format" in broken["detail"]
    assert broken["caption"] is None
    assert len(server.requests) == 1


def test_a_rerun_decodes_and_asks_nothing(tmp_path: Path) -> None:
    def gone() -> bytes:
        raise AssertionError("read again")

    with serving(captions()) as server:
        first, _ = caption(server, tmp_path, [item(WIDE, "a")])
        again, asker = caption(
            server, tmp_path, [Captionable("x", Picture(blake3(WIDE).digest(), gone), "a")]
        )
    assert again.equals(first, check_metadata=True)
    assert asker.tally is not None
    assert (asker.tally.asked, asker.tally.kept) == (0, 1)


def test_the_table_is_equal_at_any_concurrency_and_order(tmp_path: Path) -> None:
    items = [item(encode(pixels(16 + i, 16, seed=i), "png"), f"c{i}") for i in range(12)]
    digests = set()
    for turn, concurrency in enumerate((1, 8)):
        with serving(captions()) as server:
            for i in range(0, 12, 3):
                found = f'{{"found_caption":"c{i}"}}'
                server.acts[found] = [status(500), slow(0.02, captions())]
            order = items[::-1] if turn else items
            table, _ = caption(server, tmp_path / str(turn), order, concurrency=concurrency)
        path, digest = write_labels(tmp_path / str(turn), "captions", table)
        digests.add((path.name, digest))
        assert read_labels(path, CAPTIONS).equals(table)
    assert len(digests) == 1


def test_a_cap_leaves_the_rest_unasked(tmp_path: Path) -> None:
    items = [item(encode(pixels(16 + i, 16, seed=i), "png")) for i in range(6)]
    # The dearest outcome is a million tokens and the prompt: two answers leave room for a third.
    cost = Cost(tokens=2_000_000, image_tokens=1_000_000)
    with serving(captions((400_000, 40))) as server:
        table, asker = caption(server, tmp_path, items, answers=1, cost=cost)
    assert table["reason"].to_pylist().count("not-asked") == 3
    assert asker.tally is not None
    assert (asker.tally.asked, asker.tally.not_asked) == (3, 3)
    assert asker.tally.prompt_tokens == 1_200_000


def test_the_table_says_who_labelled(tmp_path: Path) -> None:
    with serving(captions()) as server:
        table, asker = caption(server, tmp_path, [item(WIDE)])
        other, _ = caption(server, tmp_path, [item(WIDE)], side=336)
    about = about_labels(table)
    assert about == asker.about()
    assert about["model"]["model"] == "toy"
    assert len(about["prompt"]["version"]) == 16
    first, second = (write_labels(tmp_path, "captions", t)[0] for t in (table, other))
    assert first != second
    with pytest.raises(ValueError, match="expected labels"):
        read_labels(first, CAPTIONS.remove(1))
