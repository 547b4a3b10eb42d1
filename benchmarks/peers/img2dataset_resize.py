"""img2dataset over the files of a folder, one after the other: its resizer alone, or its shards.

Its defaults: decode, fit into 256 x 256 with a border, encode as JPEG of quality 95. On the way to
a shard (a WebDataset tar and its Parquet) also SHA-256 and EXIF of each file, and its caption.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import pyarrow as pa
from img2dataset.downloader import Downloader
from img2dataset.resizer import Resizer
from img2dataset.writer import WebDatasetSampleWriter

from benchmarks.peers.protocol import serve

_FILES: dict[str, list[bytes]] = {}


def resize(folder: str) -> dict[str, Any]:
    """Resize every file; files are read before the clock starts."""
    if folder not in _FILES:
        _FILES[folder] = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    resizer = _resizer()
    start = time.perf_counter()
    results = [resizer(io.BytesIO(data)) for data in _FILES[folder]]
    seconds = time.perf_counter() - start
    errors = [error for *_, error in results if error is not None]
    if errors:
        raise RuntimeError(f"{len(errors)} files failed, the first with {errors[0]}")
    return {"seconds": seconds, "images": len(results)}


def shard(folder: str, out: str) -> dict[str, Any]:
    """One shard of every file, which its own downloader takes by file: addresses, on one thread."""
    files = sorted(Path(folder).resolve().iterdir())
    Path(out).mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=out))
    try:
        rows = {"url": [path.as_uri() for path in files], "caption": [p.name for p in files]}
        table = pa.table(rows)
        listed = place / "shard.feather"
        with pa.ipc.new_file(str(listed), table.schema) as writer:
            writer.write_table(table)
        downloader = Downloader(
            sample_writer_class=WebDatasetSampleWriter,
            resizer=_resizer(),
            thread_count=1,
            save_caption=True,
            extract_exif=True,
            output_folder=str(place),
            column_list=["url", "caption"],
            timeout=10,
            number_sample_per_shard=len(files),
            oom_shard_count=5,
            compute_hash="sha256",
            verify_hash_type=None,
            encode_format="jpg",
            retries=0,
            user_agent_token=None,
            disallowed_header_directives=None,
        )
        start = time.perf_counter()
        downloader((0, str(listed)))
        seconds = time.perf_counter() - start
        done = json.loads((place / "00000_stats.json").read_bytes())["successes"]
    finally:
        shutil.rmtree(place)
    if done != len(files):
        raise RuntimeError(f"found {done} images in the shard, expected {len(files)}")
    return {"seconds": seconds, "images": len(files)}


def _resizer() -> Resizer:
    return Resizer(image_size=256, resize_mode="border", resize_only_if_bigger=False)


if __name__ == "__main__":
    serve({"resize": resize, "shard": shard})
