"""HTML pages to make a web-shaped crawl from: real ones of a folder, or synthetic ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from benchmarks.generate.vocabulary import draw, generator, vocabulary

PAGE_BYTES = (2_000, 2_000_000)
"""Smaller pages are redirects and errors; larger ones would make the mean of a short run jump."""

_VOCABULARY = 12_000


@dataclass(frozen=True)
class Page:
    """The body of one HTML response, as served."""

    name: str
    html: bytes


def load_pages(folders: Sequence[Path]) -> list[Page]:
    """Every distinct HTML page under ``folders``, in the order of file and member names.

    It looks into ``.html[.gz]`` and ``.htm`` files, into tar files (plain, gzip, zstd) of such
    files, and into the HTML responses with status 200 of WARC files. Of a broken archive it takes
    what comes before the break, with a warning.

    Raises
    ------
    ValueError
        If a folder holds no page.
    """
    pages: dict[bytes, Page] = {}
    for folder in folders:
        found = 0
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            for name, html in _pages_of(file):
                if PAGE_BYTES[0] <= len(html) <= PAGE_BYTES[1] and b"<" in html[:4096]:
                    found += 1
                    digest = hashlib.sha256(html).digest()
                    pages.setdefault(digest, Page(f"{file.relative_to(folder)}:{name}", html))
        if not found:
            raise ValueError(
                f"{folder}: no HTML page found; expected .html files, tar files of them, "
                "or WARC files"
            )
    return list(pages.values())


def _pages_of(file: Path) -> Iterator[tuple[str, bytes]]:
    name = file.name
    if name.endswith((".html", ".htm", ".html.gz")):
        yield _page("", file.read_bytes(), name)
    elif name.endswith((".tar", ".tar.gz", ".tar.zst")):
        yield from _pages_of_tar(file)
    elif name.endswith((".warc", ".warc.gz")):
        yield from _pages_of_warc(file)


def _page(member: str, data: bytes, name: str) -> tuple[str, bytes]:
    return member, gzip.decompress(data) if name.endswith(".gz") else data


def _pages_of_tar(file: Path) -> Iterator[tuple[str, bytes]]:
    data = file.read_bytes()
    if file.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream and member.name.endswith((".html", ".htm", ".html.gz")):
                yield _page(member.name, stream.read(), member.name)


def _pages_of_warc(file: Path) -> Iterator[tuple[str, bytes]]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with file.open("rb") as stream:
        try:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
                http = record.http_headers
                if http is None or http.status_code != 200:
                    continue
                if "html" in (http.get("Content-Type") or "").lower():
                    yield str(record.stream_pos), record.reader.read()
        except OSError as error:
            warnings.warn(f"{file}: {error}; its other pages are left out", stacklevel=2)


def synthetic_pages(count: int, seed: int = 0) -> list[Page]:
    """``count`` pages in the shape of articles on sites: navigation, sidebar, comments, scripts."""
    return [Page(f"synthetic:{i}", _synthetic(i, seed).encode()) for i in range(count)]


def _synthetic(number: int, seed: int) -> str:
    rng = generator(seed, 11, number)
    words = vocabulary(_VOCABULARY, 0)

    def text(low: int, high: int) -> str:
        ranks = draw(rng, int(rng.integers(low, high)), _VOCABULARY).tolist()
        return " ".join(words[r] for r in ranks)

    def sentences(low: int, high: int) -> str:
        return " ".join(f"{text(6, 24).capitalize()}." for _ in range(int(rng.integers(low, high))))

    def links(low: int, high: int) -> str:
        return "".join(
            f'<li class="menu-item"><a href="/{i}/{text(1, 2)}" title="{text(1, 3)}">'
            f"{text(1, 3).title()}</a></li>\n"
            for i in range(int(rng.integers(low, high)))
        )

    styles = "".join(
        f".c{i}{{margin:{i}px;color:#{i * 4099 % 0xFFFFFF:06x}}}\n"
        for i in range(int(rng.integers(20, 200)))
    )
    sections = "".join(
        f'<h2 id="s{i}">{text(2, 7).capitalize()}</h2>\n'
        + "".join(f"<p>{sentences(2, 7)}</p>\n" for _ in range(int(rng.integers(1, 5))))
        for i in range(int(rng.integers(1, 7)))
    )
    comments = "".join(
        f'<div class="comment"><span>{text(1, 2)}</span><p>{sentences(1, 4)}</p></div>\n'
        for _ in range(int(rng.integers(0, 12)))
    )
    title = text(3, 9).capitalize()
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="description" content="{sentences(1, 2)}">\n<style>\n{styles}</style>\n'
        f'<script>window.page={{"id":{number},"tags":"{text(2, 6)}"}};</script></head>\n'
        f'<body class="single"><header><nav><ul>\n{links(8, 40)}</ul></nav></header>\n'
        f"<main><article><h1>{title}</h1>\n{sections}</article>\n"
        f'<section id="comments">\n{comments}</section></main>\n'
        f"<aside><h3>{text(1, 3).title()}</h3><ul>\n{links(5, 25)}</ul></aside>\n"
        f"<footer><p>{sentences(1, 3)}</p><ul>{links(3, 10)}</ul></footer>\n"
        f'<script src="/static/site.js?v={number % 7}"></script></body></html>\n'
    )
