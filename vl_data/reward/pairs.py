"""The pairs of an image and its caption that documents hold, each with an id of its content."""

from __future__ import annotations

from dataclasses import dataclass

import blake3
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vl_data.measure import flat_images, told_captions

_DOMAIN = b"leyden.caption-pair.1\0"


@dataclass(frozen=True)
class CaptionPairs:
    """All pairs of n documents, document after document.

    Attributes
    ----------
    row : int64[p], the pair's document.
    count : int64[n], pairs of each document.
    images : p images (``vl_data.images.IMAGE``).
    caption : p texts without white space around.
    """

    row: NDArray[np.int64]
    count: NDArray[np.int64]
    images: pa.StructArray
    caption: pa.Array

    def __len__(self) -> int:
        return len(self.row)

    def ids(self) -> NDArray[np.void]:
        """``V16[p]``: by them a score finds its pair in any run."""
        made = [
            pair_id(digest, caption)
            for digest, caption in zip(
                self.images.field("digest").to_pylist(), self.caption.to_pylist(), strict=True
            )
        ]
        return np.frombuffer(b"".join(made), "V16")


def pairs_of(documents: pa.Table) -> CaptionPairs:
    """The images that have a caption, or an alternative text in its place.

    Parameters
    ----------
    documents : n rows with ``images`` (list of ``vl_data.images.IMAGE``; empty or null for a text).
    """
    parents, images, _ = flat_images(documents)
    captions = told_captions(images)
    there = captions.is_valid()
    row = parents[there.to_numpy(zero_copy_only=False)]
    count = np.bincount(row, minlength=documents.num_rows).astype(np.int64)
    return CaptionPairs(row, count, images.filter(there), captions.filter(there))


def pair_id(digest: bytes, caption: str) -> bytes:
    """16 bytes of BLAKE3 over an image's digest and its caption's UTF-8."""
    made: bytes = blake3.blake3(_DOMAIN + digest + caption.encode()).digest(16)
    return made
