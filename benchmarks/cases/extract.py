"""Reading WARC files into documents, against bare fastwarc and resiliparse on the same pages."""

from __future__ import annotations

from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding
from resiliparse.parse.html import HTMLTree

from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.inputs import warcs
from dataflow.sources import Record, SourceSpec, plan, read

BARE = "bare fastwarc and resiliparse"


def run(report: Report, options: Options) -> None:
    """Time both over one WARC file."""
    folder, label = warcs(options)
    file = sorted(folder.glob("*.warc.gz"))[0]
    spec = SourceSpec("web", paths=(str(file),), format="warc")
    documents, text_bytes = _ours(spec)
    pages, html_bytes, _ = _bare(file, detect=True)
    report.add(f"input: {label}: its first file, HTML", html_bytes / 1e6, "MB")
    taken = interleave(
        {
            "ours": lambda: seconds(lambda: _ours(spec)),
            "bare": lambda: seconds(lambda: _bare(file, detect=True)),
            "assumed": lambda: seconds(lambda: _bare(file, detect=False)),
        },
        options.repeats,
    )
    time, ratio = taken["ours"], taken["bare"] / taken["ours"]
    report.add("read", html_bytes / 1e6 / time, "MB/s", peer=BARE, ratio=ratio)
    report.add("read, pages", pages / time, "pages/s", peer=BARE, ratio=ratio)
    report.add(
        "read, beside a reader that assumes UTF-8",
        html_bytes / 1e6 / time,
        "MB/s",
        peer=f"{BARE}, UTF-8 assumed",
        ratio=taken["assumed"] / time,
    )
    report.add("documents of a page", documents / pages, "documents")
    report.add("text of a byte of HTML", text_bytes / html_bytes, "bytes")


def _ours(spec: SourceSpec) -> tuple[int, int]:
    """Documents read, and bytes of their text."""
    count = size = 0
    for partition in plan(spec, 1 << 34):
        for outcome in read(spec, partition):
            if isinstance(outcome, Record):
                count += 1
                size += len(outcome.text.encode())
    return count, size


def _bare(file: Path, *, detect: bool) -> tuple[int, int, int]:
    """HTML responses, bytes of their HTML, and bytes of their main content."""
    count = html_size = size = 0
    with file.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
            html = record.reader.read()
            encoding = (detect_encoding(html) if detect else None) or "utf-8"
            tree = HTMLTree.parse_from_bytes(html, encoding)
            text = extract_plain_text(
                tree, main_content=True, alt_texts=False, comments=False, links=False
            )
            count += 1
            html_size += len(html)
            size += len(text.encode())
    return count, html_size, size
