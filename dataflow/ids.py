"""Identities of documents: from content and place of origin, never from position, time or task."""

from __future__ import annotations

from collections.abc import Sequence

import xxhash

_DOC_DOMAIN = b"leyden.doc.1\0"
_IMAGES_DOMAIN = b"leyden.content.images.1\0"


def doc_id(source: str, uri: str, offset: int) -> bytes:
    """The id of one occurrence: 16 bytes of XXH3-128 over source, uri and offset.

    It does not involve the text, so it survives a new extractor. ``source`` and ``uri`` cannot
    hold NUL (the recipe and the readers refuse it), which keeps the encoding unambiguous.
    """
    payload = b"\0".join((source.encode(), uri.encode("utf-8", "surrogatepass"), b"%d" % offset))
    return xxhash.xxh3_128_digest(_DOC_DOMAIN + payload)


def content_id(text: bytes, images: Sequence[bytes] = ()) -> bytes:
    """The id of a content: 16 bytes of XXH3-128 over the UTF-8 bytes of its text, before any
    cleaning; where it has images, over their digests (32 bytes each, in their order) too.
    """
    if not images:
        return xxhash.xxh3_128_digest(text)
    # The digests come first, behind their number: where the text begins is then never in doubt.
    payload = b"".join((_IMAGES_DOMAIN, b"%d;" % len(images), *images, text))
    return xxhash.xxh3_128_digest(payload)


def uri_key(uri: str) -> bytes:
    """The 16-byte key under which the ``why`` index finds documents by uri."""
    return xxhash.xxh3_128_digest(b"leyden.uri.1\0" + uri.encode("utf-8", "surrogatepass"))
