"""Which format a file has, by its first bytes: never by its name or what a server says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vl_data.refusals import ImageRefused


@dataclass(frozen=True, slots=True)
class Format:
    """A raster format that is read.

    ``name`` is what tables hold, ``extension`` (no dot) ends the names of shard members,
    ``decoder`` is Pillow's name of it: no other decoder is tried on such a file.
    """

    name: str
    extension: str
    media_type: str
    decoder: str


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        f.name: f
        for f in (
            Format("jpeg", "jpg", "image/jpeg", "JPEG"),
            Format("png", "png", "image/png", "PNG"),
            Format("gif", "gif", "image/gif", "GIF"),
            Format("webp", "webp", "image/webp", "WEBP"),
            Format("tiff", "tiff", "image/tiff", "TIFF"),
            Format("bmp", "bmp", "image/bmp", "BMP"),
            Format("avif", "avif", "image/avif", "AVIF"),
            Format("jp2", "jp2", "image/jp2", "JPEG2000"),
        )
    }
)
"""The formats by name."""

_MAGIC = (
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("tiff", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("avif", re.compile(rb"....ftypavi[fs]", re.DOTALL)),
    ("jp2", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    # Reserved words of the header are zero and its size is one of those there are; "BM" alone
    # begins many a text.
    ("bmp", re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
)
_OTHERS = (
    ("HTML", re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.IGNORECASE)),
    ("SVG", re.compile(rb"(\xef\xbb\xbf)?\s*<[^\0]*<?svg[\s>]", re.IGNORECASE)),
    ("XML", re.compile(rb"(\xef\xbb\xbf)?\s*<\?xml")),
    ("gzip, as of SVGZ,", re.compile(rb"\x1f\x8b")),
    ("PDF", re.compile(rb"%PDF-")),
    ("PostScript", re.compile(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("HEIF", re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("an icon", re.compile(rb"\0\0[\1\2]\0[\1-\x40]\0")),
    ("Photoshop", re.compile(rb"8BPS")),
    ("DDS", re.compile(rb"DDS ")),
    ("a Netpbm image", re.compile(rb"P[1-7f]\s", re.IGNORECASE)),
)
"""Only to say what was found."""

_HEAD = 4096


def sniff(data: bytes) -> Format:
    """The format of a file.

    Raises
    ------
    ImageRefused
        ``image-empty``, or ``image-format`` with what it looks like instead. Vector formats such as
        SVG are refused unread: they are programs, not pixels.
    """
    if not data:
        raise ImageRefused("image-empty", "found 0 bytes")
    head = bytes(data[:_HEAD])
    for name, magic in _MAGIC:
        if magic.match(head):
            return FORMATS[name]
    if head[4:8] == b"ftyp" and b"avif" in head[8 : int.from_bytes(head[:4], "big")]:
        return FORMATS["avif"]
    found = next((name for name, magic in _OTHERS if magic.match(head)), None)
    if found is None:
        found = f"bytes that begin {head[:8].hex(' ')}"
    raise ImageRefused("image-format", f"found {found}, expected one of {', '.join(FORMATS)}")
