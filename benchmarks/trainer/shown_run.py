"""Runs with images, built as any is: a source for each number of tiles that an image is to have, or
one of small images.

Images are synthetic photographs, JPEG files of quality 85; behind each stands a description of
random words.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import orjson
from PIL import Image

from benchmarks.builds import build
from benchmarks.photos import photo
from vl_data.tiling import plan

TILE = 336
WORDS = 230
"""Of a description, about 300 tokens."""
SMALL, SMALL_SIDE, SMALL_WORDS = "small", 56, 20
"""The source of small images: their side in pixels, and words of a description."""
WORKERS = 2
_RECIPE = """\
name: bench-pictures
seed: 3
sources:
{sources}
clean: [control]
tokenizer: {{train: {{vocab_size: {vocabulary}}}}}
pack: {{shard_bytes: 64MiB, sample_bytes: 8MiB}}
"""
_SOURCE = """\
  - name: {name}
    paths: [{name}/]
    include: [samples.jsonl]
    format: llava
    fields: {{id: id}}
    images: {{min_side: {side}}}
"""


def name_of(tiles: int) -> str:
    """The source of the images with so many tiles by ``released28``."""
    return f"tiles-{tiles}"


def size_of(tiles: int) -> int:
    """The side in pixels of a square image with so many tiles by ``released28``.

    Raises:
        ValueError: where there is none.
    """
    side = math.isqrt(tiles - 1) * TILE
    if len(plan(max(side, 1), max(side, 1)).tiles) != tiles:
        raise ValueError(f"found {tiles} tiles, expected a square's: 1 + 1, 1 + 4, 1 + 9 …")
    return side


def build_run(folder: Path, tiles: tuple[int, ...], images: int) -> Path:
    """The run, built where it is not there: ``images`` of each number of tiles."""
    return _build(folder, {name_of(count): size_of(count) for count in tiles}, images, WORDS, 2048)


def build_small_run(folder: Path, images: int) -> Path:
    """The run of small images, built where it is not there."""
    return _build(folder, {SMALL: SMALL_SIDE}, images, SMALL_WORDS, 512)


def _build(folder: Path, sides: dict[str, int], images: int, words: int, vocabulary: int) -> Path:
    run = folder / "run"
    if (run / "journal" / "run.json").exists():
        return run
    shutil.rmtree(folder, ignore_errors=True)
    for name, side in sides.items():
        _write(folder / name, side, images, words)
    sources = "".join(_SOURCE.format(name=name, side=side) for name, side in sides.items())
    recipe = folder / "recipe.yaml"
    recipe.write_text(_RECIPE.format(sources=sources, vocabulary=vocabulary))
    return build(recipe, run, WORKERS).run


def _write(folder: Path, side: int, images: int, count: int) -> None:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(side)
    letters = np.array(list("abcdefghiklmnoprstuvw"))
    with (folder / "samples.jsonl").open("wb") as file:
        for number in range(images):
            name = f"{number:05d}.jpg"
            seed = side * 100_000 + number
            Image.fromarray(photo(side, side, seed)).save(folder / name, "JPEG", quality=85)
            words = ["".join(draw.choice(letters, draw.integers(2, 9))) for _ in range(count)]
            turns = [
                {"from": "human", "value": "<image>\nDescribe the picture."},
                {"from": "gpt", "value": " ".join(words)},
            ]
            line = {"id": f"{side}-{number}", "image": name, "conversations": turns}
            file.write(orjson.dumps(line) + b"\n")
