"""HTML files: the main content of one page."""

from __future__ import annotations

from dataclasses import replace

from dataflow.sources.extract import extract
from dataflow.sources.opened import Opened
from dataflow.sources.spec import Outcomes


def read(opened: Opened) -> Outcomes:
    """One record.

    Raises
    ------
    Refusal
        Whatever kept the file from being read or its text from being found.
    """
    data = opened.whole()
    page = extract(data, None, opened.spec)
    record = opened.one(page.text, data, "text/html", page.encoding)
    yield replace(
        record,
        license=page.license or record.license,
        rights=tuple(sorted(page.rights)),
        metadata={"damaged": page.damaged} if page.damaged else None,
    )
