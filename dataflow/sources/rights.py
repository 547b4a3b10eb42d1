"""What a page says about its use: robots marks, text-and-data-mining reservation, licence.

Sources: robots meta tags and ``X-Robots-Tag`` as search engines document them, with DeviantArt's
``noai`` and ``noimageai``; the TDM Reservation Protocol (W3C community report, 2024); ``rel=license``
of the HTML standard with Creative Commons addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

ROBOTS = frozenset(
    {"noai", "noimageai", "noindex", "nofollow", "none", "noarchive", "nosnippet", "notranslate"}
)
_META = 'meta[name="robots" i],meta[name^="tdm" i],link[rel~="license" i]'
_CC = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>by(?:-nc)?(?:-nd|-sa)?)/(?P<version>\d\.\d)"
    r"|publicdomain/(?P<public>zero|mark)/1\.0)"
)
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


def of_page(tree: Any, html: bytes) -> tuple[set[str], str | None]:
    """Marks and SPDX licence in a parsed page (``resiliparse`` tree) and its bytes."""
    marks: set[str] = set()
    license_id = None
    head = tree.head
    for element in head.query_selector_all(_META) if head is not None else ():
        if element.tag == "link":
            license_id = license_id or spdx_of(element.getattr("href") or "")
            continue
        name = (element.getattr("name") or "").lower()
        content = element.getattr("content") or ""
        if name == "robots":
            _add_robots(marks, content)
        else:
            _add_tdm(marks, name, content)
    if license_id is None and html.find(b"creativecommons.org/", max(0, len(html) - _TAIL)) >= 0:
        for element in tree.document.query_selector_all('a[rel~="license" i]'):
            license_id = license_id or spdx_of(element.getattr("href") or "")
    return marks, license_id


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
