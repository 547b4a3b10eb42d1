"""A web-shaped crawl: WARC files like Common Crawl's, of pages that are all distinct.

A file starts with a ``warcinfo`` record; each page is a request, a response and a metadata record,
one gzip member each. Of the pages a fraction are planted copies, exact or near, of earlier ones
under another address; ``pages.truth.jsonl`` beside the folder says which.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import orjson

from benchmarks.generate.pages import Page
from benchmarks.generate.rewrite import Rewriter
from benchmarks.generate.vocabulary import generator

_FIRST_CAPTURE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Crawl:
    """What a crawl looks like: fractions of planted copies, pages per file, gzip level."""

    seed: int = 0
    near: float = 0.05
    exact: float = 0.02
    near_edits: float = 0.01
    per_file: int = 2000
    level: int = 6


@dataclass(frozen=True)
class WebPage:
    """One page of the crawl; ``original`` is the number of the page that it copies."""

    number: int
    uri: str
    html: bytes
    kind: Literal["base", "exact", "near"]
    original: int | None


def web_pages(pages: Sequence[Page], count: int, crawl: Crawl | None = None) -> Iterator[WebPage]:
    """``count`` pages made of ``pages``: page *i* depends on the seed, on *i* and on ``pages``."""
    crawl = crawl or Crawl()
    rewriter = Rewriter(pages)
    for number in range(count):
        kind, original = _kind(crawl, number)
        base = number if original is None else original
        template = _template(crawl, base, len(rewriter))
        pieces = rewriter.rewrite(template, generator(crawl.seed, 21, base))
        if kind == "near":
            rng = generator(crawl.seed, 22, number)
            pieces = rewriter.edit(template, pieces, rng, crawl.near_edits)
        uri = f"https://site-{template:04d}.example/{base % 97:02d}/{number:08d}.html"
        yield WebPage(number, uri, b"".join(pieces), kind, original)


def _kind(crawl: Crawl, number: int) -> tuple[Literal["base", "exact", "near"], int | None]:
    rng = generator(crawl.seed, 23, number)
    chance = rng.random()
    if number == 0 or chance >= crawl.exact + crawl.near:
        return "base", None
    original = int(rng.integers(0, number))
    # A copy of a copy would drift: follow to the page that it all began with.
    _, before = _kind(crawl, original)
    kind: Literal["exact", "near"] = "exact" if chance < crawl.exact else "near"
    return kind, original if before is None else before


def _template(crawl: Crawl, number: int, templates: int) -> int:
    cycle, position = divmod(number, templates)
    return int(generator(crawl.seed, 24, cycle).permutation(templates)[position])


def write_warcs(
    folder: Path, pages: Sequence[Page], count: int, crawl: Crawl | None = None
) -> list[Path]:
    """Write the crawl as ``folder/crawl-NNNNN.warc.gz``; returns the files in order."""
    crawl = crawl or Crawl()
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    made = web_pages(pages, count, crawl)
    with folder.with_name(folder.name + ".truth.jsonl").open("wb") as truth:
        for first in range(0, count, crawl.per_file):
            file = folder / f"crawl-{len(files):05d}.warc.gz"
            with file.open("wb") as sink:
                sink.write(_member(_warcinfo(file.name), crawl.level))
                for _ in range(min(crawl.per_file, count - first)):
                    page = next(made)
                    for record in _records(page):
                        sink.write(_member(record, crawl.level))
                    row = {"uri": page.uri, "kind": page.kind, "original": page.original}
                    truth.write(orjson.dumps({"page": page.number, **row}) + b"\n")
            files.append(file)
    return files


def _member(record: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(record) + packer.flush()


def _record(fields: dict[str, str], block: bytes) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"WARC/1.0\r\n{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def _sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def _urn(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"<urn:uuid:{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}>"


def _warcinfo(name: str) -> bytes:
    fields = {
        "WARC-Type": "warcinfo",
        "WARC-Date": f"{_FIRST_CAPTURE:%Y-%m-%dT%H:%M:%SZ}",
        "WARC-Record-ID": _urn("warcinfo", name),
        "WARC-Filename": name,
        "Content-Type": "application/warc-fields",
    }
    return _record(fields, b"isPartOf: generated\r\nformat: WARC File Format 1.0\r\n")


def _records(page: WebPage) -> Iterator[bytes]:
    date = f"{_FIRST_CAPTURE + timedelta(seconds=7 * page.number):%Y-%m-%dT%H:%M:%SZ}"
    host, path = page.uri.removeprefix("https://").split("/", 1)
    shared = {"WARC-Date": date, "WARC-Target-URI": page.uri}
    response_id = _urn("response", page.uri)
    request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n".encode()
    yield _record(
        {
            "WARC-Type": "request",
            **shared,
            "WARC-Record-ID": _urn("request", page.uri),
            "WARC-Concurrent-To": response_id,
            "Content-Type": "application/http; msgtype=request",
        },
        request,
    )
    http = (
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\n"
        f"Content-Length: {len(page.html)}\r\n\r\n"
    ).encode()
    yield _record(
        {
            "WARC-Type": "response",
            **shared,
            "WARC-Record-ID": response_id,
            "Content-Type": "application/http; msgtype=response",
            "WARC-Payload-Digest": _sha1(page.html),
            "WARC-Block-Digest": _sha1(http + page.html),
            "WARC-Identified-Payload-Type": "text/html",
        },
        http + page.html,
    )
    yield _record(
        {
            "WARC-Type": "metadata",
            **shared,
            "WARC-Record-ID": _urn("metadata", page.uri),
            "WARC-Concurrent-To": response_id,
            "Content-Type": "application/warc-fields",
        },
        b"fetchTimeMs: 100\r\n",
    )
