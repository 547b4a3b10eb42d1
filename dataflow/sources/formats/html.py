"""HTML files: the main content of one page, and where it is asked for its images."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from urllib.parse import quote, unquote, urlsplit

from dataflow.sources.extract import extract
from dataflow.sources.formats.beside import Beside
from dataflow.sources.formats.gathered import Fetch
from dataflow.sources.formats.interleaved import Interleaved, interleave
from dataflow.sources.formats.picture import ImageRefusal
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcomes

_HOST = "http://page.invalid/"
_ABOVE = "above/" * 64
"""A made-up address (RFC 2606) stands for the source's folder, to resolve relative ones by; it has
so many folders above it that an address which climbs out of the source can be told."""


def read(opened: Opened) -> Outcomes:
    """One record.

    Raises
    ------
    Refusal
        Whatever kept the file from being read or its text from being found.
    """
    data = opened.whole()
    if opened.spec.html == "interleaved":
        found = interleave(data, None, opened.spec, *_images_beside(opened))
    else:
        found = Interleaved(extract(data, None, opened.spec))
    page = found.page
    record = opened.one(page.text, data, "text/html", page.encoding)
    yield found.put_into(
        replace(
            record,
            license=page.license or record.license,
            rights=tuple(sorted(page.rights)),
            metadata={"damaged": page.damaged} if page.damaged else None,
        )
    )


def _images_beside(opened: Opened) -> tuple[str, Fetch]:
    """The page's made-up address, and how to read the files that its images name."""
    beside = Beside(opened.spec, opened.item)
    limit = opened.spec.images.max_bytes

    def fetch(address: str) -> tuple[str, bytes]:
        parts = urlsplit(address)
        if f"{parts.scheme}://{parts.netloc}/" != _HOST:
            raise ImageRefusal(address, "image-missing", "nothing is fetched from the web")
        path = unquote(parts.path).lstrip("/")
        if not path.startswith(_ABOVE):
            raise Refusal("image-missing", "lies outside of the source's folder")
        name = beside.inside(path.removeprefix(_ABOVE))
        try:
            return name, beside.read(name, limit)
        except Refusal as refusal:
            detail = refusal.detail.removeprefix(f"{name}: ")
            raise ImageRefusal(name, refusal.reason, detail) from None

    return f"{_HOST}{_ABOVE}{quote(posixpath.join(beside.folder, 'page.html'))}", fetch
