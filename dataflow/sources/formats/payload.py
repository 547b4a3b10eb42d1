"""The document in an archive record: what came over the wire, by its media type."""

from __future__ import annotations

from typing import Any, NamedTuple

import xxhash

from dataflow.sources import rights
from dataflow.sources.encodings import decode
from dataflow.sources.extract import extract
from dataflow.sources.formats.pdf import text_of
from dataflow.sources.formats.suffixes import TEXT
from dataflow.sources.formats.text import one_line_end
from dataflow.sources.http import charset_of, decoded_body, media_type_of, parse_response
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcome, Record

HTML = frozenset({"text/html", "application/xhtml+xml"})
PLAIN = frozenset(TEXT.values()) | {"text/x-markdown", "text/x-web-markdown"}
_UNKNOWN = frozenset({"", "application/octet-stream", "unknown/unknown", "application/unknown"})


class Stored(NamedTuple):
    """An archive record: its block, and what its header says.

    ``is_http``: the block is an HTTP response; else it is the payload of type ``content_type``.
    ``cut``: the archive stored only a part and says so.
    """

    offset: int
    block: bytes
    is_http: bool
    content_type: str
    url: str
    record_id: str
    captured_at: int | None
    cut: bool = False


def outcome_of(opened: Opened, stored: Stored) -> Outcome:
    """The record, or the reason why there is none."""
    try:
        return _record_of(opened, stored)
    except Refusal as refusal:
        return opened.unreadable(stored.offset, refusal)


def _record_of(opened: Opened, stored: Stored) -> Record:
    spec = opened.spec
    marks: set[str] = set()
    content_type = stored.content_type
    body = raw = stored.block
    if stored.is_http:
        response = parse_response(stored.block)
        if not 200 <= response.status <= 299:
            raise Refusal("http-status", str(response.status))
        content_type = response.header("content-type")
        raw = response.body
        body = decoded_body(response, spec.limits, stored.cut)
        marks = rights.of_headers(response.headers)
    if not body:
        raise Refusal("empty")
    media_type = media_type_of(content_type)
    if media_type in _UNKNOWN:
        media_type = _sniff(body)
    charset = charset_of(content_type)
    license_id: str | None = None
    metadata: dict[str, Any] = {}
    if media_type in HTML:
        page = extract(body, charset, spec)
        text, encoding, damaged, license_id = page.text, page.encoding, page.damaged, page.license
        marks |= page.rights
    elif media_type in PLAIN:
        decoded = decode(body, charset)
        text, encoding, damaged = one_line_end(decoded.text), decoded.encoding, decoded.damaged
    elif media_type == "application/pdf":
        (text, _), encoding, damaged = text_of(body, spec.limits), "utf-8", 0
    else:
        raise Refusal("media-type", media_type)
    if not text or text.isspace():
        raise Refusal("no-text")
    if stored.url:
        metadata["url"] = stored.url
    if stored.record_id:
        metadata["record_id"] = stored.record_id
    if damaged:
        metadata["damaged"] = damaged
    if stored.cut:
        metadata["cut"] = True
    return Record(
        uri=opened.item.uri,
        offset=stored.offset,
        text=text,
        digest=xxhash.xxh3_128_digest(raw),
        media_type=media_type,
        license=license_id or spec.license,
        rights=tuple(sorted(marks)),
        captured_at=stored.captured_at,
        encoding=encoding,
        metadata=metadata or None,
    )


def _sniff(body: bytes) -> str:
    start = body[:1024].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if start.startswith(b"%pdf-"):
        return "application/pdf"
    return "application/octet-stream"
