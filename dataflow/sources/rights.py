"""What a page says about its use: robots marks, text-and-data-mining reservation, licence.

Sources: robots meta tags and ``X-Robots-Tag`` as search engines document them, with DeviantArt's
``noai`` and ``noimageai``; the TDM Reservation Protocol (W3C community report, 2024);
``rel=license`` of the HTML standard with Creative Commons addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

ROBOTS = frozenset(
    {"noai", "noimageai", "noindex", "nofollow", "none", "noarchive", "nosnippet", "notranslate"}
)
_TAG = re.compile(rb"<(?:meta|link|a)\b([^>]{0,4000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-zA-Z-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_CC = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>by(?:-nc)?(?:-nd|-sa)?)/(?P<version>\d\.\d)"
    r"|publicdomain/(?P<public>zero|mark)/1\.0)"
)
_HEAD_END = re.compile(rb"</head")
_HEAD = 1 << 16
_TAIL = 1 << 14
"""Licence notices stand in the head or in the footer: the last 16 KiB are searched for them."""


def of_headers(headers: Iterable[tuple[str, str]]) -> set[str]:
    """Marks in HTTP headers; names must be in lower case."""
    marks: set[str] = set()
    for name, value in headers:
        if name == "x-robots-tag":
            _add_robots(marks, value)
        elif name in ("tdm-reservation", "tdm-policy"):
            _add_tdm(marks, name, value)
    return marks


def of_page(html: bytes) -> tuple[set[str], str | None]:
    """Marks and SPDX licence in a page, from tags in its head and licence links in its footer.

    Tags are found without parsing; one inside a comment counts, which errs on the owner's side.
    """
    marks: set[str] = set()
    license_id = None
    end = _HEAD_END.search(html, 0, _HEAD)
    head = html[: end.start() if end else _HEAD]
    lower = head.lower()
    for attributes in _tags_with(head, lower, b"robots"):
        if attributes.get("name", "").lower() == "robots":
            _add_robots(marks, attributes.get("content", ""))
    if b"tdm-reservation" in lower:
        for attributes in _tags_with(head, lower, b"tdm-"):
            _add_tdm(marks, attributes.get("name", "").lower(), attributes.get("content", ""))
    for part in (head, html[-_TAIL:]):
        if b"creativecommons.org/" in part:
            for attributes in _tags_with(part, part, b"creativecommons.org/"):
                if "license" in attributes.get("rel", "").lower().split():
                    license_id = license_id or spdx_of(attributes.get("href", ""))
    return marks, license_id


def _tags_with(html: bytes, lower: bytes, needle: bytes) -> Iterator[dict[str, str]]:
    """The attributes of each ``meta``, ``link`` or ``a`` tag that holds ``needle``."""
    at = lower.find(needle)
    while at >= 0:
        start = lower.rfind(b"<", 0, at)
        match = _TAG.match(html, start) if start >= 0 else None
        after = at + 1
        if match is not None and match.end() > at:
            found = _ATTRIBUTE.findall(match[1].decode("latin-1"))
            yield {name.lower(): a or b or c for name, a, b, c in found}
            after = match.end()
        at = lower.find(needle, after)


def spdx_of(url: str) -> str | None:
    """The SPDX id of a Creative Commons address."""
    match = _CC.search(url)
    if match is None:
        return None
    if match["public"]:
        return "CC0-1.0" if match["public"] == "zero" else "CC-PDM-1.0"
    return f"CC-{match['kind'].upper()}-{match['version']}"


def _add_robots(marks: set[str], value: str) -> None:
    for word in re.split(r"[,\s;]+", value.lower()):
        if word in ROBOTS:
            marks.add(f"robots:{word}")


def _add_tdm(marks: set[str], name: str, value: str) -> None:
    if name == "tdm-reservation" and value.strip() == "1":
        marks.add("tdm:reservation")
    elif name == "tdm-policy" and value.strip():
        marks.add(f"tdm:policy={value.strip()[:500]}")
