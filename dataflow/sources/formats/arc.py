"""ARC, the format before WARC: a line of fields, then as many bytes as its last field says.

Source: Internet Archive, ARC_IA file format (1996), versions 1 and 2. Offsets are as for WARC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from dataflow.sources.formats.frames import SHARED, Damage, take
from dataflow.sources.formats.stored import Make, Stored
from dataflow.sources.formats.window import Window
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcomes

_FIELDS = re.compile(rb"(\S.*?) (\S+) (\d{12,20}) (\S+) (?:\S+ \S+ \S+ \S+ \S+ )?(-?\w+)\s*$")
_NEXT = re.compile(rb"\n[a-z][a-z0-9+.-]*:\S* [0-9A-Fa-f.:]+ \d{14} \S+ (?:\S+ ){0,5}\d+\n")
_MAX_LINE = 1 << 16


class _Line(NamedTuple):
    url: str
    date: str
    content_type: str
    length: int


def read(opened: Opened, make: Make) -> Outcomes:
    """What ``make`` makes of each record but the file's own description, and damaged places."""
    window = Window(opened, 0)
    ordinal = 0
    limit = opened.spec.limits.max_record_bytes
    while True:
        window.skip(b"\r\n")
        offset = window.offset(SHARED + ordinal)
        ordinal += 1
        if not window.fill(1):
            if window.damage is None:
                return
            yield opened.unreadable(offset, window.damage)
            if not window.next_member(b"http"):
                return
            continue
        line = _parse(window.line(_MAX_LINE))
        if line is None or line.length < 0:
            what = "expected an ARC header line" if line is None else f"length is {line.length}"
            damage = window.damage or Refusal("bad-archive-record", what)
            yield opened.unreadable(offset, damage)
        else:
            found = take(window, offset, {}, line.length, limit)
            if not isinstance(found, Damage):
                if not line.url.startswith("filedesc:"):
                    outcome = make(_stored(offset, line, found.block))
                    if outcome is not None:
                        yield outcome
                continue
            yield opened.unreadable(offset, found.refusal)
            if found.refusal.reason == "record-too-large":
                continue
        resumed = window.damage is None and window.find(_NEXT)
        if not resumed and not window.next_member(b"http"):
            return


def _parse(line: bytes | None) -> _Line | None:
    match = _FIELDS.match(line or b"")
    if match is None:
        return None
    url, _, date, content_type, length = (
        part.decode("utf-8", "replace") for part in match.groups()
    )
    return _Line(url, date, content_type, int(length) if length.isdecimal() else -1)


def _stored(offset: int, line: _Line, block: bytes) -> Stored:
    return Stored(
        offset=offset,
        block=block,
        is_http=block.startswith(b"HTTP/"),
        content_type=line.content_type,
        url=line.url,
        record_id="",
        captured_at=_seconds(line.date),
    )


def _seconds(date: str) -> int | None:
    try:
        moment = datetime.strptime(date[:14].ljust(14, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return int(moment.replace(tzinfo=UTC).timestamp())
