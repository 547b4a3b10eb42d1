"""HTTP responses as archives store them: header, transfer and content codings.

RFC 9110 and 9112, read leniently: archives hold what servers sent, and some crawlers decode a body
and leave the header as it was.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

from fastwarc.stream_io import BrotliReader

from dataflow.sources.compression import Expanded, read_whole
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Limits

MAX_HEADER = 1 << 18
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?\s+(\d{3})")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)


class Response(NamedTuple):
    """Status, headers with lower-case names, and the body as sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The last value of a header, or an empty string."""
        return next((v for n, v in reversed(self.headers) if n == name), "")


def parse_response(block: bytes) -> Response:
    """Split a response.

    Raises
    ------
    Refusal
        ``bad-http`` where there is no status line or no end of the header.
    """
    status = _STATUS.match(block)
    if status is None:
        raise Refusal("bad-http", f"expected a status line, found {block[:20]!r}")
    end, after = header_end(block)
    headers: list[tuple[str, str]] = []
    for line in block[:end].decode("latin-1").splitlines()[1:]:
        if line[:1] in (" ", "\t") and headers:
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    return Response(int(status[1]), headers, block[after:])


def header_end(block: bytes) -> tuple[int, int]:
    """Where a header block ends, and where the body starts."""
    crlf = block.find(b"\r\n\r\n", 0, MAX_HEADER)
    lf = block.find(b"\n\n", 0, crlf if crlf >= 0 else MAX_HEADER)
    if lf >= 0:
        return lf, lf + 2
    if crlf >= 0:
        return crlf, crlf + 4
    raise Refusal("bad-http", "the header has no end")


def charset_of(content_type: str) -> str | None:
    """The charset parameter of a ``Content-Type``."""
    match = _CHARSET.search(content_type)
    return match[1] if match else None


def media_type_of(content_type: str) -> str:
    """The type of a ``Content-Type`` without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def decoded_body(response: Response, limits: Limits, cut: bool) -> bytes:
    """The body without transfer and content codings.

    ``cut``: the archive says that it stored only a part, so that an early end is no damage.

    Raises
    ------
    Refusal
        ``truncated``, ``corrupt`` or ``record-too-large``.
    """
    body = response.body
    if "chunked" in response.header("transfer-encoding").lower():
        body = dechunk(body, cut)
    for coding in reversed(response.header("content-encoding").lower().split(",")):
        body = _decode(body, coding.strip(), limits, cut)
    return body


def dechunk(body: bytes, cut: bool = False) -> bytes:
    """Join the chunks of a body; one that does not start with a chunk was joined before."""
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        match = _CHUNK.match(body, at)
        if match is None:
            if not parts:
                return body
            raise Refusal("corrupt", f"bad chunk at byte {at} of the body")
        size = int(match[1], 16)
        at = match.end()
        if size == 0:
            return b"".join(parts)
        parts.append(body[at : at + size])
        if at + size > len(body) and not cut:
            raise Refusal("truncated", f"a chunk of {size} bytes has {len(body) - at}")
        at += size
        at += 2 if body.startswith(b"\r\n", at) else 1
    if parts and not cut:
        raise Refusal("truncated", "the last chunk is missing")
    return b"".join(parts)


def _decode(body: bytes, coding: str, limits: Limits, cut: bool) -> bytes:
    if coding in ("", "identity") or not body:
        return body
    if coding in ("gzip", "x-gzip"):
        return _partial(body, "gzip", limits, cut) if body[:2] == b"\x1f\x8b" else body
    if coding == "zstd":
        return _partial(body, "zstd", limits, cut) if body[:4] == b"\x28\xb5\x2f\xfd" else body
    if coding == "deflate":
        return _deflate(body, limits)
    if coding == "br":
        return _brotli(body, limits)
    raise Refusal("corrupt", f"unknown content coding {coding!r}")


def _partial(body: bytes, kind: str, limits: Limits, cut: bool) -> bytes:
    stream = Expanded(io.BytesIO(body), kind, limits)
    if not cut:
        return read_whole(stream, limits.max_record_bytes)
    parts = []
    try:
        while data := stream.read():
            parts.append(data)
    except Refusal as refusal:
        if refusal.reason != "truncated":
            raise
    return b"".join(parts)


def _deflate(body: bytes, limits: Limits) -> bytes:
    limit = limits.max_record_bytes
    for wbits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        decoder = zlib.decompressobj(wbits=wbits)
        try:
            data = decoder.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(data) > limit:
            raise Refusal("record-too-large", f"more than {limit} bytes")
        return data
    raise Refusal("corrupt", "the deflate body does not decode")


def _brotli(body: bytes, limits: Limits) -> bytes:
    read: Callable[[int], bytes] = BrotliReader(io.BytesIO(body)).read
    limit = limits.max_record_bytes
    parts: list[bytes] = []
    size = 0
    try:
        while data := read(1 << 16):
            parts.append(data)
            size += len(data)
            if size > limit:
                raise Refusal("record-too-large", f"more than {limit} bytes")
    except OSError as error:
        raise Refusal("corrupt", f"brotli: {error}") from None
    return b"".join(parts)
