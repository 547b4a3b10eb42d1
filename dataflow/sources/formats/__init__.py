"""The readers: one module a format, one line each in ``FORMATS``.

A reader takes an open item and yields every record it sees exactly once, as a ``Record`` or an
``Unreadable``. It raises ``Refusal`` where the whole item is one refused record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dataflow.sources.formats.arrow import read as read_arrow
from dataflow.sources.formats.html import read as read_html
from dataflow.sources.formats.image_text import cut as cut_image_text
from dataflow.sources.formats.image_text import read as read_image_text
from dataflow.sources.formats.jsonl import cut as cut_jsonl
from dataflow.sources.formats.jsonl import read as read_jsonl
from dataflow.sources.formats.llava import cut as cut_llava
from dataflow.sources.formats.llava import read as read_llava
from dataflow.sources.formats.man import SUFFIXES as MAN
from dataflow.sources.formats.man import read as read_man
from dataflow.sources.formats.parquet import cut as cut_parquet
from dataflow.sources.formats.parquet import read as read_parquet
from dataflow.sources.formats.pdf import read as read_pdf
from dataflow.sources.formats.pdf_pages import read as read_pdf_pages
from dataflow.sources.formats.preferences import read as read_preferences
from dataflow.sources.formats.suffixes import HTML, TEXT
from dataflow.sources.formats.text import read as read_text
from dataflow.sources.formats.warc import read as read_warc
from dataflow.sources.opened import Opened
from dataflow.sources.spec import Item, Outcomes


class Format(NamedTuple):
    """A reader, the suffixes it is chosen by, and how it cuts large files (None: never)."""

    suffixes: tuple[str, ...]
    read: Callable[[Opened], Outcomes]
    cut: Callable[[Opened, int], list[Item]] | None = None


FORMATS: dict[str, Format] = {
    "warc": Format((".warc", ".wet", ".arc"), read_warc),
    "html": Format(HTML, read_html),
    "jsonl": Format((".jsonl", ".ndjson"), read_jsonl, cut_jsonl),
    "parquet": Format((".parquet", ".pq"), read_parquet, cut_parquet),
    "arrow": Format((".arrow", ".feather", ".ipc"), read_arrow),
    "pdf": Format((".pdf",), read_pdf),
    "man": Format(MAN, read_man),
    "text": Format(tuple(TEXT), read_text),
    # Never chosen by a name: what files with these hold is else text.
    "image-text": Format((), read_image_text, cut_image_text),
    "llava": Format((), read_llava, cut_llava),
    "pdf-pages": Format((), read_pdf_pages),
    "preferences": Format((), read_preferences, cut_llava),
}
