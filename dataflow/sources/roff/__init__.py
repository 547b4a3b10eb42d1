"""Manual pages to plain text: the man and mdoc macros, tables, and what roff pages use besides.

It follows groff 1.23's man(7), mdoc(7) and groff(7) for what a terminal shows, with one line a
paragraph, because a corpus needs no line breaks at column 80.
"""

from __future__ import annotations

from dataflow.sources.roff import man, mdoc
from dataflow.sources.roff.lines import Lines
from dataflow.sources.roff.page import Page

__all__ = ["to_text"]


def to_text(source: str) -> str:
    """The text of one page; empty where it has none."""
    page = Page()
    lines = iter(Lines(source))
    for line in lines:
        if line.request == "Dd":
            mdoc.render_page(page, lines)
        elif line.request == "TH":
            man.render_page(page, lines, line)
        elif not man.common(page, lines, line):
            continue
    return page.text()
