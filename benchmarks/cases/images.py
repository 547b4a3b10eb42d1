"""Images: decode, hygiene and hashes of one image after the other, on one core.

Beside ours: img2dataset's own resizing of the same files, and Pillow's decoder alone, the floor.
What is done apart from the decoder (the detectors and the hashes) is timed by itself too.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness import Options, Peer, PeerMissingError, Report, interleave, seconds
from vl_data.blank import is_blank
from vl_data.decode import decode_image
from vl_data.hashes import phash_of, pixel_hash
from vl_data.hygiene import inspect
from vl_data.images import IMAGE
from vl_data.measure import caption_signals, image_signals
from vl_data.pixels import tile_bytes
from vl_data.tiling import plan

PEER = "img2dataset 1.47 resizing (256, border)"
FLOOR = "Pillow's decoder alone"
WIDTH, HEIGHT = 816, 612
"""0.5 megapixel, 4 : 3."""
FORMATS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 85},
    "PNG": {},
    "WEBP": {"quality": 80},
}


def run(report: Report, options: Options) -> None:
    """Time both sides on JPEG files, then ours on other formats and the parts by themselves."""
    count = options.size(200, 12)
    for name, settings in FORMATS.items():
        folder = _files(
            options.scratch / "images" / f"{name.lower()}-{count}", name, settings, count
        )
        files = [path.read_bytes() for path in sorted(folder.iterdir())]
        label = f"{name} of {WIDTH} x {HEIGHT}"
        size = sum(map(len, files)) / len(files)
        report.add(f"input: {len(files)} {label}, synthetic", size / 1e3, "KB/image")
        _compare(report, options, label, folder, files, beside_peer=name == "JPEG")
        if name == "JPEG":
            _parts(report, options, files)
    _signals(report, options)


def _compare(
    report: Report,
    options: Options,
    label: str,
    folder: Path,
    files: list[bytes],
    *,
    beside_peer: bool,
) -> None:
    runs: dict[str, Callable[[], float]] = {
        "ours": _timed(inspect, files),
        FLOOR: _timed(_pillow, files),
    }
    inspect(files[0])
    metric = f"decode, hygiene and hashes, {label}"
    peer = None
    if beside_peer:
        try:
            peer = Peer("img2dataset_resize", environment="img2dataset")
        except PeerMissingError as error:
            report.note(f"{PEER} is left out: {error}")
    if peer is None:
        taken = interleave(runs, options.repeats)
    else:
        with peer:
            peer.seconds(do="resize", folder=str(folder))
            runs[PEER] = lambda: peer.seconds(do="resize", folder=str(folder))
            taken = interleave(runs, options.repeats)
    rate = len(files) / taken["ours"]
    if PEER in taken:
        report.add(metric, rate, "images/s", peer=PEER, ratio=taken[PEER] / taken["ours"])
    report.add(f"{metric}: floor", rate, "images/s", peer=FLOOR, ratio=taken[FLOOR] / taken["ours"])


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
        photo = Image.fromarray(_photo(number))
        photo.save(folder / f"{number:05d}.{name.lower()}", name, **settings)
    return folder


def _photo(seed: int) -> NDArray[np.uint8]:
    """Noise whose amplitude falls with frequency as that of photographs does: uint8[H, W, 3]."""
    draw = np.random.default_rng(seed)
    values = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    cells = 4
    while cells <= WIDTH:
        coarse = draw.standard_normal((cells, cells, 3)).astype(np.float32)
        # Brightness varies more than colour.
        coarse = coarse * 0.35 + coarse[..., :1]
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel])
            scaled = layer.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            values[..., channel] += np.asarray(scaled) / cells**0.7
        cells *= 2
    spread = values / values.std() * 55 + 120
    photo: NDArray[np.uint8] = np.clip(spread, 0, 255).astype(np.uint8)
    return photo


def _documents(rows: int, seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    words = np.array("a red car on the street with two people and their dog in summer".split())
    images = 3 * rows
    captions = [" ".join(draw.choice(words, 9)) for _ in range(images)]
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
            "text": [" ".join(draw.choice(words, 60)) for _ in range(rows)],
            "images": pa.ListArray.from_arrays(offsets, flat),
        }
    )
