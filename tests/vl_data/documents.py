"""Tables of documents with images, written down in a line each."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from vl_data.images import IMAGE, MARK


def image(number: int = 0, **given: Any) -> dict[str, Any]:
    """A row of ``IMAGE``, of 400 × 300 pixels and without a caption unless given."""
    plain: dict[str, Any] = {
        "digest": number.to_bytes(32, "big"),
        "bytes": 1000,
        "format": "jpeg",
        "width": 400,
        "height": 300,
        "pixels": number.to_bytes(16, "big"),
        "phash": number,
        "frames": 1,
        "blank": False,
        "ref": f"images/{number}.jpg",
        "alt": None,
        "caption": None,
    }
    return plain | given


def documents(*rows: tuple[str, list[dict[str, Any]]]) -> pa.Table:
    """Documents of a text and its images; the text gets a mark for each image at its front."""
    return pa.table(
        {
            "text": pa.array([MARK * len(images) + text for text, images in rows], pa.string()),
            "images": pa.array([images for _, images in rows], pa.list_(IMAGE)),
        }
    )
