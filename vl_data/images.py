"""What is known of an image in a document: the mark in its text, and the columns that tables keep.

A document's text holds one `MARK` for each of its images, in their order. Beside the text stands a
list of `IMAGE`, one a mark.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass

import pyarrow as pa

MARK = "\ufffc"
"""OBJECT REPLACEMENT CHARACTER: where an image stands in the text of a document with images."""

FOREIGN_MARK = "\ufffd"
"""What a `MARK` of the source's own becomes before images are marked (REPLACEMENT CHARACTER)."""

IMAGE = pa.struct(
    [
        pa.field("digest", pa.binary(32), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("pixels", pa.binary(16), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("blank", pa.bool_(), nullable=False),
        pa.field("ref", pa.string(), nullable=False),
        pa.field("alt", pa.string()),
        pa.field("caption", pa.string()),
    ]
)
"""One image of a document: `Facts`, and what the document says of it.

``ref`` is source-relative, never a path of a machine. ``alt`` and ``caption`` are null where the
document has none.
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the bytes of an image say of themselves, from one decoding.

    Attributes
    ----------
    digest : 32 bytes, BLAKE3 of the original bytes.
    bytes : how many there are.
    format : by content, never by name: ``jpeg``, ``png``, ``gif``, ``webp``, ``tiff``, …
    width, height : in pixels as shown, that is after EXIF rotation.
    pixels : 16 bytes, a hash of the decoded and rotated RGBA8 pixels with their size.
    phash : 64-bit perceptual hash (`vl_data.hashes`).
    frames : of an animation; 1 for a still image.
    blank : the image shows nothing.
    """

    digest: bytes
    bytes: int
    format: str
    width: int
    height: int
    pixels: builtins.bytes
    phash: int
    frames: int
    blank: bool
