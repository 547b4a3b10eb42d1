"""WARC, WET and ARC archives: through fastwarc while all is well, carefully from the first damage.

Documents are the payloads of ``response``, ``resource`` and ``conversion`` records; ``revisit`` and
``continuation`` records are unreadable rows; the others describe the crawl and are none.
Offsets are where a record starts in the stored file. A record that shares a gzip member with one
before it has no place of its own there: its offset is ``SHARED`` plus its ordinal in the file, as
are all in archives of another compression.
Format: WARC 1.1 (ISO 28500:2017).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from fastwarc.warc import ArchiveIterator

from dataflow.sources.formats import arc
from dataflow.sources.formats.archive_images import ArchiveImages
from dataflow.sources.formats.frames import SHARED, Damage, Headers, frames
from dataflow.sources.formats.payload import outcome_of
from dataflow.sources.formats.rows import seconds
from dataflow.sources.formats.stored import Make, Stored
from dataflow.sources.http import media_type_of
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcome, Outcomes

_DOCUMENTS = frozenset({"response", "resource", "conversion"})
_REFUSED = {"revisit": "revisit", "continuation": "segmented"}


class _Place(NamedTuple):
    """Where the careful reader takes over: a stored byte, records to pass over, records done."""

    start: int
    skip: int
    ordinal: int


def read(opened: Opened) -> Outcomes:
    """An outcome for each document record and for each damaged place.

    Where images are asked for, pages have those that the archive holds. The records of the images
    are rows (``media-type``) as they are without.
    """
    if opened.item.size == 0:
        raise Refusal("empty")
    if opened.spec.html != "interleaved" or not opened.raw.seekable():
        yield from _read(opened, lambda stored: outcome_of(opened, stored))
        return
    with ArchiveImages(opened.spec) as images:
        for _ in _read(opened, images.add):
            pass  # damage: the second pass meets it again, and reports it
        yield from _read(opened, lambda stored: outcome_of(opened, stored, images.fetch))


def _read(opened: Opened, make: Make) -> Outcomes:
    if opened.head(9) == b"filedesc:":
        yield from arc.read(opened, make)
        return
    by_member = opened.compression in (None, "gzip") and opened.raw.seekable()
    place = yield from _read_quickly(opened, by_member, make)
    if place is None:
        return
    if not by_member:
        refusal = Refusal("corrupt", f"{opened.compression or 'archive'} data end or do not decode")
        yield opened.unreadable(SHARED + place.ordinal, refusal)
        return
    for found in frames(opened, *place):
        if isinstance(found, Damage):
            yield opened.unreadable(found.offset, found.refusal)
        else:
            outcome = _outcome(opened, found.offset, found.headers, found.block, make)
            if outcome is not None:
                yield outcome


def _read_quickly(
    opened: Opened, by_member: bool, make: Make
) -> Generator[Outcome, None, _Place | None]:
    """Read with fastwarc; return where to go on carefully, or None at a clean end.

    fastwarc gives a record inside a gzip member the position of the member or of the next one, so
    an outcome is held back until the next record has a later position.
    """
    limit = opened.spec.limits.max_record_bytes
    held: Outcome | None = None
    last, done, ordinal = -1, _Place(0, 0, 0), 0
    if opened.raw.seekable():
        opened.raw.seek(0)
    try:
        for record in ArchiveIterator(opened.raw, parse_http=False):
            start = record.stream_pos if by_member else SHARED + ordinal
            if start <= last or (by_member and 0 <= opened.item.size <= start):
                return done
            if held is not None:
                yield held
            held = None
            if last >= 0:
                done = _Place(last, 1, ordinal)
            last = start
            headers: Headers = {name.lower(): value for name, value in record.headers.items()}
            declared = headers.get("content-length", "")
            length = record.content_length
            if not declared.isdecimal() or length != int(declared):
                break
            if length > limit:
                held = opened.unreadable(start, _too_large(declared, limit))
            else:
                block = record.reader.read()
                if len(block) != length:
                    break
                held = _outcome(opened, start, headers, block, make)
            ordinal += 1
        else:
            if opened.compression != "gzip" or last < 0 or _starts_member(opened, last):
                if held is not None:
                    yield held
                return None
    except OSError:
        pass  # the careful reader finds the place again, and says what is wrong with it
    if not by_member and held is not None:
        yield held
    return done if by_member else _Place(0, 0, ordinal)


def _starts_member(opened: Opened, start: int) -> bool:
    opened.raw.seek(start)
    return opened.raw.read(2) == b"\x1f\x8b"


def _too_large(declared: str, limit: int) -> Refusal:
    return Refusal("record-too-large", f"{declared} bytes, limit {limit}")


def _outcome(
    opened: Opened, offset: int, headers: Headers, block: bytes, make: Make
) -> Outcome | None:
    kind = headers.get("warc-type", "").lower()
    if kind in _REFUSED:
        detail = headers.get("warc-refers-to", "") or headers.get("warc-segment-origin-id", "")
        return opened.unreadable(offset, Refusal(_REFUSED[kind], detail))
    if kind not in _DOCUMENTS:
        return None
    content_type = headers.get("content-type", "")
    stored = Stored(
        offset=offset,
        block=block,
        is_http=media_type_of(content_type) == "application/http",
        content_type=content_type,
        url=headers.get("warc-target-uri", "").strip("<>"),
        record_id=headers.get("warc-record-id", "").strip("<>"),
        captured_at=seconds(headers.get("warc-date", "")),
        cut=bool(headers.get("warc-truncated", "")),
    )
    return make(stored)
