"""img2dataset's resizer over the files of a folder, one after the other on one thread.

Its defaults: decode, fit into 256 x 256 with a border, encode as JPEG of quality 95.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from img2dataset.resizer import Resizer

from benchmarks.peers.protocol import serve

_FILES: dict[str, list[bytes]] = {}


def resize(folder: str, size: int = 256, mode: str = "border") -> dict[str, Any]:
    """Resize every file; files are read before the clock starts."""
    if folder not in _FILES:
        _FILES[folder] = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    resizer = Resizer(image_size=size, resize_mode=mode, resize_only_if_bigger=False)
    start = time.perf_counter()
    results = [resizer(io.BytesIO(data)) for data in _FILES[folder]]
    seconds = time.perf_counter() - start
    errors = [error for *_, error in results if error is not None]
    if errors:
        raise RuntimeError(f"{len(errors)} files failed, the first with {errors[0]}")
    return {"seconds": seconds, "images": len(results)}


if __name__ == "__main__":
    serve({"resize": resize})
