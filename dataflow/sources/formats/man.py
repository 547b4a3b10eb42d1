"""Manual pages: roff source to plain text, in this process."""

from __future__ import annotations

from dataclasses import replace

from dataflow.sources.encodings import decode
from dataflow.sources.formats.text import declared_coding, one_line_end
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.roff import to_text
from dataflow.sources.spec import Outcomes

SUFFIXES = (".man", ".mdoc", ".roff")


def read(opened: Opened) -> Outcomes:
    """One record.

    Raises
    ------
    Refusal
        ``no-text`` for a page that only points to another (``.so``), and what ``text`` raises.
    """
    data = opened.whole()
    decoded = decode(data, declared_coding(data))
    source = one_line_end(decoded.text)
    if source.startswith(".so ") and source.count("\n") <= 2:
        raise Refusal("no-text", "a pointer to " + source[4:].split("\n")[0].strip())
    record = opened.one(to_text(source), data, "text/troff", decoded.encoding)
    yield replace(record, metadata={"damaged": decoded.damaged} if decoded.damaged else None)
