"""Tables of tbl(1): the cells of a row on one line, separated by tabs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dataflow.sources.roff.escapes import render
from dataflow.sources.roff.lines import Line

_SEPARATOR = re.compile(r"tab\s*\(?(.)\)?")


def rows(lines: Iterator[Line]) -> Iterator[str]:
    """The rows of a table whose ``.TS`` was just read, up to its ``.TE``."""
    separator = "\t"
    layout = True
    row = ""
    in_block = False
    for line in lines:
        if line.request == "TE":
            break
        if line.request == "T&":
            layout = True
            continue
        if line.request:
            if in_block and line.rest:
                row += " " + render(" ".join(line.arguments()))
            continue
        text = line.rest
        if layout:
            if text.rstrip().endswith(";") and (match := _SEPARATOR.search(text)):
                separator = match[1]
            layout = not text.rstrip().endswith((".", ".T"))
            continue
        if in_block and text.startswith("T}"):
            in_block = False
            text = text[2:]
        elif in_block:
            text = " " + text
        opens = text.rstrip().endswith("T{")
        row += text.rstrip().removesuffix("T{") if opens else text
        in_block = in_block or opens
        if in_block:
            continue
        cells = [" ".join(render(c).split()) for c in row.split(separator)]
        row = ""
        if any(c.strip("_=- ") for c in cells):
            yield "\t".join(cells).rstrip()
    if row.strip():
        yield " ".join(render(row).split())
