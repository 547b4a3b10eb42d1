"""Archive records out of damaged files: what is whole is given, what is not is one row each.

Slower than fastwarc and used from the first damage on. After damage, reading goes on at the next
compressed member that decodes, or at the next record header in plain data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dataflow.sources.formats.window import Window
from dataflow.sources.http import MAX_HEADER
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal

SHARED = 1 << 62
"""Added to the ordinal of a record that starts inside a compressed member."""
_WARC = b"WARC/"
_NEXT = re.compile(rb"\nWARC/[01]\.")


Headers = dict[str, str]
"""Header fields by lower-case name; the last of several of one name."""


class Frame(NamedTuple):
    """A whole record."""

    offset: int
    headers: Headers
    block: bytes


class Damage(NamedTuple):
    """A damaged record or stretch of the file."""

    offset: int
    refusal: Refusal


def frames(opened: Opened, start: int, skip: int, ordinal: int) -> Iterator[Frame | Damage]:
    """Records from the stored byte ``start`` on, leaving out the first ``skip``.

    ``ordinal`` is the number of records before the first one given.
    """
    window = Window(opened, start)
    while True:
        window.skip(b"\r\n")
        offset = window.offset(SHARED + ordinal)
        if not window.fill(1):
            if window.damage is None:
                return
            yield Damage(offset, window.damage)
            ordinal += 1
            if not window.next_member(_WARC):
                return
            continue
        found = _next(window, offset, opened.spec.limits.max_record_bytes)
        if skip > 0:
            skip -= 1
            continue
        yield found
        ordinal += 1
        if isinstance(found, Damage) and found.refusal.reason != "record-too-large":
            resumed = window.damage is None and window.find(_NEXT)
            if not resumed and not window.next_member(_WARC):
                return


def _next(window: Window, offset: int, limit: int) -> Frame | Damage:
    found = window.peek(20)
    if not found.startswith(_WARC):
        return Damage(offset, Refusal("bad-archive-record", f"expected {_WARC!r}, found {found!r}"))
    header = window.header(MAX_HEADER)
    if header is None:
        ended = window.damage or Refusal("truncated", "the data end inside a record header")
        return Damage(offset, ended)
    headers = _parse(header)
    length = headers.get("content-length", "")
    if not length.isdecimal() or len(length) > 15:
        return Damage(offset, Refusal("bad-archive-record", f"Content-Length is {length!r}"))
    return take(window, offset, headers, int(length), limit)


def take(window: Window, offset: int, headers: Headers, length: int, limit: int) -> Frame | Damage:
    """The block of ``length`` bytes that follows, or what is wrong with it."""
    if length > limit:
        missing = length - window.discard(length)
        detail = f"{length} bytes, limit {limit}" + (f", {missing} missing" if missing else "")
        return Damage(offset, Refusal("record-too-large", detail))
    block = window.take(length)
    if len(block) == length:
        return Frame(offset, headers, block)
    damage = window.damage
    reason = damage.reason if damage is not None else "truncated"
    because = f": {damage.detail}" if damage is not None else ""
    return Damage(offset, Refusal(reason, f"has {len(block)} of {length} bytes{because}"))


def _parse(header: bytes) -> Headers:
    headers: Headers = {}
    for line in header.decode("utf-8", "replace").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers
