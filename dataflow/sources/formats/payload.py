"""The document in an archive record: what came over the wire, by its media type."""

from __future__ import annotations

from typing import Any

import xxhash

from dataflow.sources import rights
from dataflow.sources.encodings import decode
from dataflow.sources.extract import extract
from dataflow.sources.formats.gathered import Fetch
from dataflow.sources.formats.interleaved import Interleaved, interleave
from dataflow.sources.formats.pdf import text_of
from dataflow.sources.formats.stored import Stored
from dataflow.sources.formats.suffixes import TEXT
from dataflow.sources.formats.text import one_line_end
from dataflow.sources.http import charset_of, decoded_body, media_type_of, parse_response
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcome, Record

HTML = frozenset({"text/html", "application/xhtml+xml"})
PLAIN = frozenset(TEXT.values()) | {"text/x-markdown", "text/x-web-markdown"}
_UNKNOWN = frozenset({"", "application/octet-stream", "unknown/unknown", "application/unknown"})


def outcome_of(opened: Opened, stored: Stored, shown: Fetch | None = None) -> Outcome:
    """The record, or the reason why there is none; pages take their images from ``shown``."""
    try:
        return _record_of(opened, stored, shown)
    except Refusal as refusal:
        return opened.unreadable(stored.offset, refusal)


def _record_of(opened: Opened, stored: Stored, shown: Fetch | None) -> Record:
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
    interleaved: Interleaved | None = None
    if media_type in HTML:
        if shown is not None:
            interleaved = interleave(body, charset, spec, stored.url, shown)
        page = interleaved.page if interleaved is not None else extract(body, charset, spec)
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
    record = Record(
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
    return interleaved.put_into(record) if interleaved is not None else record


def _sniff(body: bytes) -> str:
    start = body[:1024].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if start.startswith(b"%pdf-"):
        return "application/pdf"
    return "application/octet-stream"
