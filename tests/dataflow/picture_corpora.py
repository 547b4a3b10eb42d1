"""A small corpus with images, and the test format that reads it: JSON lines with images inside.

A line has ``text``, in which ``[image]`` stands where an image does, ``images`` (objects with
``data`` in base64, or ``refuse`` with a reason; ``alt``, ``caption``), and ``loss`` (pairs of byte
offsets).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import xxhash
from PIL import Image

from dataflow import tasks
from dataflow.sources.formats import FORMATS, Format
from dataflow.sources.formats.lines import lines
from dataflow.sources.opened import Opened
from dataflow.sources.spec import Outcomes, Picture, Record, RefusedPicture
from tests.dataflow.corpora import sentence_text
from vl_data.hygiene import inspect
from vl_data.images import FOREIGN_MARK, MARK, Facts
from vl_data.limits import ANY_SIZE

FORMAT = "picture-lines"
HERE = "[image]"


@functools.cache
def facts(data: bytes) -> Facts:
    """What the bytes of an image say of it; the tests' pictures are smaller than is usual."""
    return inspect(data, ANY_SIZE)


def record_of(row: dict[str, Any], uri: str, offset: int) -> Record:
    """The record of a line's object."""
    text = row["text"]
    pictures, refused = [], []
    for number, found in enumerate(row["images"]):
        ref = found.get("ref", f"image{number}")
        if "refuse" in found:
            refused.append(RefusedPicture(ref, found["refuse"], "as the test wants it", number))
            continue
        data = base64.b64decode(found["data"])
        pictures.append(Picture(data, facts(data), ref, found.get("alt"), found.get("caption")))
    if pictures:
        text = text.replace(MARK, FOREIGN_MARK)
    return Record(
        uri,
        offset,
        text.replace(HERE, MARK),
        xxhash.xxh3_128_digest(json.dumps(row).encode()),
        "text/html",
        license="CC0-1.0",
        images=tuple(pictures),
        loss=tuple((a, b) for a, b in row.get("loss", ())),
        refused=tuple(refused),
    )


def _read(opened: Opened) -> Outcomes:
    for offset, line in lines(opened.stream(), 0, 1 << 30):
        if line:
            yield record_of(json.loads(line), opened.item.uri, offset)


def known_format() -> Any:
    """A context in which this process knows the test format."""
    return mock.patch.dict(FORMATS, {FORMAT: Format((".pictures",), _read)})


@contextlib.contextmanager
def picture_format() -> Iterator[None]:
    """The test format, known to builds of this process and to their workers."""
    steps = {"read": "tests.dataflow.picture_read"}
    with known_format(), mock.patch.dict(tasks.STEP_MODULES, steps):
        tasks.find_step.cache_clear()
        yield
    tasks.find_step.cache_clear()


def image(seed: int, size: tuple[int, int] = (60, 40), kind: str = "png", **options: Any) -> bytes:
    """A picture of coarse random patches; the same for the same arguments."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 255, (5, 6, 3), dtype=np.uint8)
    sink = io.BytesIO()
    picture = Image.fromarray(small).resize(size, Image.Resampling.NEAREST)
    picture.save(sink, kind, **options)
    return sink.getvalue()


def shown(data: bytes, **told: str) -> dict[str, str]:
    """An entry of ``images``."""
    return {"data": base64.b64encode(data).decode(), **told}


def line(text: str, *images: dict[str, str], **more: Any) -> dict[str, Any]:
    """A line's object."""
    return {"text": text, "images": list(images), **more}


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a file of the test format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def picture_rows(documents: int = 40, seed: int = 0) -> list[dict[str, Any]]:
    """Interleaved documents, captions and instructions with known duplicates and faults.

    Of every ten: one is an exact copy of the one before, one has the text of the one before and
    another picture, one has the text of the one before it and the same pixels in another file, one
    says what carries loss, one has a refused picture, one has a mark of its own.
    """
    generator = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < documents:
        number = len(rows)
        kind = number % 10
        if kind in (2, 4, 6):
            before = json.loads(json.dumps(rows[-1]))
            if kind == 4:
                before["images"][0] = shown(image(9000 + number))
            if kind == 6:
                before["text"] += " One more sentence at the end."
                before["images"] = [
                    shown(image(1000 + (number - 1) * 3 + i, kind="png", compress_level=1))
                    for i in range(len(before["images"]))
                ]
            rows.append(before)
            continue
        parts = [sentence_text(generator, int(generator.integers(4, 9))) for _ in range(3)]
        held = [
            shown(image(1000 + number * 3 + i), alt=f"alt {number}", caption=f"Figure {i}")
            for i in range(1 + number % 2)
        ]
        text = HERE.join(parts[: len(held) + 1])
        if kind == 3:
            text = text.replace(".", ".\0", 1)
        row = line(text, *held)
        if kind == 7:
            # An answer that ends the text, and one word in its middle.
            data = text.replace(HERE, MARK).encode()
            row["loss"] = [[4, 12], [len(data) - 30, len(data)]]
        if kind == 8:
            row["images"].insert(1, {"refuse": "image-truncated", "ref": "broken.png"})
        if kind == 9:
            row["text"] = f"A mark of its own {MARK} here. " + row["text"]
        rows.append(row)
    rows.append(line(f"Two {HERE} and {HERE} but one picture.", shown(image(7))))
    return rows


def write_picture_corpus(folder: Path, documents: int = 40) -> None:
    """Three files of ``picture_rows``; the text files of another source lie beside them."""
    rows = picture_rows(documents)
    cut = len(rows) // 3
    for number, part in enumerate((rows[:cut], rows[cut : 2 * cut], rows[2 * cut :])):
        write_lines(folder / "pictures" / f"part{number}.pictures", part)


def write_picture_recipe(
    folder: Path,
    *,
    partition_bytes: str = "64KiB",
    rules: str = "",
    survivor: str = "",
    text: bool = True,
) -> Path:
    """A recipe over ``write_picture_corpus`` and, with ``text``, ``tests.dataflow.corpora``.

    ``rules`` (entries of a YAML list) are those of both sources, ``survivor`` is one term.
    """
    rows = """\
  - name: rows
    paths: [a.jsonl]
    fields: {id: id, license: license}
    max_bad_fraction: 0.2
"""
    if rules:
        rows += "    rules: seen\n"
    recipe = folder / "pictures.yaml"
    recipe.write_text(
        f"""\
name: pictures
seed: 3
sources:
{rows if text else ""}\
  - name: pages
    paths: [pictures/]
    format: {FORMAT}
    max_bad_fraction: 0.2
{"    rules: seen" if rules else ""}
{"rules: {seen: [" + rules + "]}" if rules else ""}
{f"dedup: {{survivor: [{survivor}]}}" if survivor else ""}
clean: [control]
split: {{held_out: 0.1}}
tokenizer: {{train: {{vocab_size: 512}}}}
pack: {{shard_bytes: 96KiB, sample_bytes: 8KiB}}
build: {{partition_bytes: {partition_bytes}}}
"""
    )
    return recipe
