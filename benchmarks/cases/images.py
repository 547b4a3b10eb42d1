"""Images, one after the other on one core: from a tar to shards, and every part by itself.

The path is that of a build: its steps ``read`` (tar, decode, hygiene, hashes, the table of images),
``settle`` and ``pack`` (shards), by the seconds that its journal keeps. Beside it img2dataset makes
shards of the same files, scaled down, by its own path. What reading does to an image by itself
(decode, hygiene, hashes) stands beside its resizer, and beside Pillow's bare decoder, the floor.
Steps that are no part of that path (signals, look-alikes, repetition, tokens) are timed apart.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import blake3
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness import (
    ROOT,
    Options,
    Peer,
    PeerMissingError,
    Report,
    interleave,
    seconds,
)
from benchmarks.photos import NOISE, photo
from dataflow.build import build
from vl_data.blank import is_blank
from vl_data.decode import decode_image
from vl_data.hashes import phash_of, pixel_hash
from vl_data.hygiene import inspect
from vl_data.images import IMAGE
from vl_data.measure import caption_signals, image_signals
from vl_data.pixels import tile_bytes
from vl_data.tiling import plan

PEER = "img2dataset 1.47, files to shards (256, border)"
RESIZER = "img2dataset 1.47 resizing (256, border)"
FLOOR = "Pillow's decoder alone"
WIDTH, HEIGHT = 816, 612
"""0.5 megapixel, 4 : 3."""
FORMATS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 85},
    "PNG": {},
    "WEBP": {"quality": 80},
}
WORDS = "a red car on the street with two people and their dog in summer".split()
PATH = ("read", "settle", "pack")
"""The steps of a build that an image goes through on its way into a shard."""
APART = ("images", "alike", "repetition", "tokenize")


def run(report: Report, options: Options) -> None:
    """Time both sides on JPEG files, then ours on other formats and the parts by themselves."""
    for name, settings in FORMATS.items():
        count = options.size(400 if name == "JPEG" else 100, 12)
        folder = _files(
            options.scratch / "images" / f"{name.lower()}-{count}-{NOISE}", name, settings, count
        )
        files = [path.read_bytes() for path in sorted(folder.iterdir())]
        label = f"{name} of {WIDTH} x {HEIGHT}"
        size = sum(map(len, files)) / len(files)
        report.add(f"input: {len(files)} {label}, synthetic", size / 1e3, "KB/image")
        with _peer(report) as peer:
            _path(report, options, label, folder, peer, apart=name == "JPEG")
            _inspection(report, options, label, folder, files, peer)
        if name == "JPEG":
            _parts(report, options, files)
    _signals(report, options)


def _peer(report: Report) -> contextlib.AbstractContextManager[Peer | None]:
    try:
        return Peer("img2dataset_resize", environment="img2dataset")
    except PeerMissingError as error:
        report.note(f"img2dataset is left out: {error}")
        return contextlib.nullcontext()


def _path(
    report: Report, options: Options, label: str, folder: Path, peer: Peer | None, *, apart: bool
) -> None:
    """Builds of a tar of the files with a caption each, in turns with the peer's shards."""
    place = folder.with_name(folder.name + "-build")
    recipe, count = _recipe(folder, place)
    taken: dict[str, list[float]] = {step: [] for step in (*PATH, *APART)}

    def ours() -> float:
        found = _build(recipe, place / "run", count)
        for step, times in taken.items():
            times.append(found[step])
        return sum(found[step] for step in PATH)

    runs = {"ours": ours}
    if peer is not None:
        into = str(place / "peer")
        runs[PEER] = functools.partial(peer.seconds, do="shard", folder=str(folder), out=into)
    interleave(runs, 1)  # once for nothing: compiled code is loaded, files are in the page cache
    for times in taken.values():
        times.clear()
    turns = interleave(runs, options.repeats)
    metric = f"decode, hygiene, hashes and shards, {label}"
    _beside(report, metric, count, turns, PEER)
    for step in (*PATH, *(APART if apart else ())):
        report.add(f"step: {step}, {label}", count / median(taken[step]), "images/s")


def _recipe(folder: Path, place: Path) -> tuple[Path, int]:
    """A recipe over a tar of the files, made anew; how many there are."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    files, draw = sorted(folder.iterdir()), np.random.default_rng(0)
    with tarfile.open(place / "pairs.tar", "w") as archive:
        for path in files:
            caption = " ".join(draw.choice(WORDS, 9)).encode()
            for name, data in ((path.name, path.read_bytes()), (f"{path.stem}.txt", caption)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    rules = [{"use": name} for name in ("images", "captions", "images.repetition")]
    recipe = {
        "name": "images",
        "sources": [
            {"name": "pairs", "paths": "pairs.tar", "format": "image-text", "rules": "pairs"}
        ],
        "rules": {"pairs": rules},
        "tokenizer": {"use": str(ROOT / "recipes" / "tokenizers" / "quickstart-32k")},
    }
    path = place / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path, len(files)


def _build(recipe: Path, out: Path, count: int) -> dict[str, float]:
    """Seconds by step of a build in this process.

    Raises
    ------
    RuntimeError
        If not every image went into a shard.
    """
    shutil.rmtree(out, ignore_errors=True)
    build(recipe, str(out), workers=0, show=False)
    steps = json.loads((out / "journal" / "summary.json").read_bytes())["steps"]
    found = {step["step"]: step for step in steps}
    packed = found["pack"]["documents"]
    if packed != count:
        raise RuntimeError(f"{out}: found {packed} images in shards, expected {count}")
    return {name: float(step["seconds"]) for name, step in found.items()}


def _inspection(
    report: Report,
    options: Options,
    label: str,
    folder: Path,
    files: list[bytes],
    peer: Peer | None,
) -> None:
    """What reading does to the bytes of an image, beside the peer's resizer and a decoder."""
    runs = {"ours": _timed(inspect, files), FLOOR: _timed(_pillow, files)}
    if peer is not None:
        runs[RESIZER] = functools.partial(peer.seconds, do="resize", folder=str(folder))
    interleave(runs, 1)
    turns = interleave(runs, options.repeats)
    metric = f"decode, hygiene and hashes, {label}"
    _beside(report, metric, len(files), turns, RESIZER)
    _beside(report, f"{metric}: floor", len(files), turns, FLOOR)


def _beside(report: Report, metric: str, count: int, turns: Mapping[str, float], peer: str) -> None:
    """A line of images a second; with a ratio where the peer was there."""
    rate = count / turns["ours"]
    if peer in turns:
        report.add(metric, rate, "images/s", peer=peer, ratio=turns[peer] / turns["ours"])
    else:
        report.add(metric, rate, "images/s")


def _parts(report: Report, options: Options, files: list[bytes]) -> None:
    """Every part by itself, on images that are decoded already."""
    decoded = [decode_image(data) for data in files]
    shown = [image.shown() for image in decoded]
    arrays = [np.asarray(image) for image in shown]
    parts = {
        "decode with its guards": _timed(decode_image, files),
        "hash of the file": _timed(lambda data: blake3.blake3(data).digest(), files),
        "hash of the pixels": _timed(lambda d: pixel_hash(d.colour, d.alpha), decoded),
        "perceptual hash": _timed(phash_of, shown),
        "blank detector": _timed(is_blank, shown),
        "tiles, released28": _timed(lambda rgb: _tiles(rgb, "released28"), arrays),
        "tiles, fixed336": _timed(lambda rgb: _tiles(rgb, "fixed336"), arrays),
    }
    taken = interleave(parts, options.repeats)
    for name, time in taken.items():
        report.add(f"part: {name}", len(files) / time, "images/s")


def _signals(report: Report, options: Options) -> None:
    """The detectors over columns: documents of three captioned images."""
    rows = options.size(20_000, 500)
    documents = _documents(rows, options.seed)
    for name, measure in (("image", image_signals), ("caption", caption_signals)):
        measure(documents.slice(0, 100))
        taken = interleave({name: _timed(measure, [documents])}, options.repeats)
        report.add(f"{name} signals, three images a document", 3 * rows / taken[name], "images/s")


def _timed(work: Callable[[Any], object], items: Sequence[Any]) -> Callable[[], float]:
    """Seconds of ``work`` on each item; results are dropped at once, as in a pipeline."""

    def each() -> None:
        for item in items:
            work(item)

    return lambda: seconds(each)


def _tiles(rgb: NDArray[np.uint8], tiling: str) -> NDArray[np.uint8]:
    return tile_bytes(rgb, plan(rgb.shape[1], rgb.shape[0], tiling))


def _pillow(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.load()


def _files(folder: Path, name: str, settings: dict[str, object], count: int) -> Path:
    """Files of synthetic photographs; made once."""
    if folder.exists() and len(list(folder.iterdir())) == count:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        image = Image.fromarray(photo(WIDTH, HEIGHT, number))
        image.save(folder / f"{number:05d}.{name.lower()}", name, **settings)
    return folder


def _documents(rows: int, seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    images = 3 * rows
    captions = [" ".join(draw.choice(WORDS, 9)) for _ in range(images)]
    column = {
        "digest": [draw.bytes(32) for _ in range(images)],
        "bytes": draw.integers(1000, 10**6, images),
        "format": ["jpeg"] * images,
        "width": draw.integers(150, 2000, images),
        "height": draw.integers(150, 2000, images),
        "pixels": [draw.bytes(16) for _ in range(images)],
        "phash": draw.integers(0, 2**64, images, dtype=np.uint64),
        "frames": np.ones(images),
        "blank": np.zeros(images, np.bool_),
        "ref": [str(i) for i in range(images)],
        "alt": captions,
        "caption": [None] * images,
    }
    flat = pa.StructArray.from_arrays(
        [pa.array(column[field.name], field.type) for field in IMAGE], fields=list(IMAGE)
    )
    offsets = pa.array(np.arange(0, images + 1, 3), pa.int32())
    return pa.table(
        {
            "text": [" ".join(draw.choice(WORDS, 60)) for _ in range(rows)],
            "images": pa.ListArray.from_arrays(offsets, flat),
        }
    )
