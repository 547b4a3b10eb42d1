"""A run with images, built as any is: one source for each number of tiles that an image is to have.

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
WORKERS = 2
_RECIPE = """\
name: bench-pictures
seed: 3
sources:
{sources}
clean: [control]
tokenizer: {{train: {{vocab_size: 2048}}}}
pack: {{shard_bytes: 64MiB, sample_bytes: 8MiB}}
"""
_SOURCE = """\
  - name: {name}
    paths: [{name}/]
    include: [samples.jsonl]
    format: llava
    fields: {{id: id}}
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
    run = folder / "run"
    if (run / "journal" / "run.json").exists():
        return run
    shutil.rmtree(folder, ignore_errors=True)
    for count in tiles:
        _write(folder / name_of(count), size_of(count), images)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        _RECIPE.format(sources="".join(_SOURCE.format(name=name_of(count)) for count in tiles))
    )
    return build(recipe, run, WORKERS).run


def _write(folder: Path, side: int, images: int) -> None:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(side)
    letters = np.array(list("abcdefghiklmnoprstuvw"))
    with (folder / "samples.jsonl").open("wb") as file:
        for number in range(images):
            name = f"{number:05d}.jpg"
            seed = side * 100_000 + number
            Image.fromarray(photo(side, side, seed)).save(folder / name, "JPEG", quality=85)
            words = ["".join(draw.choice(letters, draw.integers(2, 9))) for _ in range(WORDS)]
            turns = [
                {"from": "human", "value": "<image>\nDescribe the picture."},
                {"from": "gpt", "value": " ".join(words)},
            ]
            line = {"id": f"{side}-{number}", "image": name, "conversations": turns}
            file.write(orjson.dumps(line) + b"\n")
