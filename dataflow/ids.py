"""Identities of documents: from content and place of origin, never from position, time or task."""

from __future__ import annotations

import xxhash

_DOC_DOMAIN = b"leyden.doc.1\0"


def doc_id(source: str, uri: str, offset: int) -> bytes:
    """The id of one occurrence: 16 bytes of XXH3-128 over source, uri and offset.

    It does not involve the text, so it survives a new extractor. ``source`` and ``uri`` cannot
    hold NUL (the recipe and the readers refuse it), which keeps the encoding unambiguous.
    """
    payload = b"\0".join((source.encode(), uri.encode("utf-8", "surrogatepass"), b"%d" % offset))
    return xxhash.xxh3_128_digest(_DOC_DOMAIN + payload)


def content_id(text: bytes) -> bytes:
    """The id of a text: 16 bytes of XXH3-128 over its UTF-8 bytes, before any cleaning."""
    return xxhash.xxh3_128_digest(text)


def uri_key(uri: str) -> bytes:
    """The 16-byte key under which the ``why`` index finds documents by uri."""
    return xxhash.xxh3_128_digest(b"leyden.uri.1\0" + uri.encode("utf-8", "surrogatepass"))
