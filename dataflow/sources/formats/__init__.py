"""The readers: one module a format, one line each in ``FORMATS``.

A reader takes an open item and yields every record it sees exactly once, as a ``Record`` or an
``Unreadable``. It raises ``Refusal`` where the whole item is one refused record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dataflow.sources.formats import arrow, html, jsonl, man, parquet, pdf, suffixes, text, warc
from dataflow.sources.opened import Opened
from dataflow.sources.spec import Item, Outcomes


class Format(NamedTuple):
    """A reader, the suffixes it is chosen by, and how it cuts large files (None: never)."""

    suffixes: tuple[str, ...]
    read: Callable[[Opened], Outcomes]
    cut: Callable[[Opened, int], list[Item]] | None = None


FORMATS: dict[str, Format] = {
    "warc": Format((".warc", ".wet", ".arc"), warc.read),
    "html": Format(suffixes.HTML, html.read),
    "jsonl": Format((".jsonl", ".ndjson"), jsonl.read, jsonl.cut),
    "parquet": Format((".parquet", ".pq"), parquet.read, parquet.cut),
    "arrow": Format((".arrow", ".arrows", ".feather", ".ipc"), arrow.read),
    "pdf": Format((".pdf",), pdf.read),
    "man": Format(man.SUFFIXES, man.read),
    "text": Format(tuple(suffixes.TEXT), text.read),
}
