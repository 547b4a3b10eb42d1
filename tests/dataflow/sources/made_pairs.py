"""Images and containers of pairs for the tests of sources with images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image


def image(seed: int = 0, size: tuple[int, int] = (200, 160), kind: str = "png") -> bytes:
    """A picture of coarse random patches; the same for the same arguments."""
    patches = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(patches).resize(size, Image.Resampling.NEAREST).save(sink, kind)
    return sink.getvalue()


def tar(members: Iterable[tuple[str, bytes]] | Mapping[str, bytes], **options: int) -> bytes:
    """A tar archive of ``members`` in their order."""
    pairs = members.items() if isinstance(members, Mapping) else members
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", **options) as archive:  # type: ignore[call-overload]
        for name, data in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()
