"""JSON Lines: one document a line, plain or compressed, cut into byte ranges where plain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import xxhash

from dataflow.sources.formats.lines import lines
from dataflow.sources.formats.rows import record_of
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Item, Outcomes

MEDIA_TYPE = "application/x-ndjson"


def read(opened: Opened) -> Outcomes:
    """A record a line; offsets are those of lines in the decompressed file. Blank lines are none.

    A compressed file whose end is damaged gives every whole line before it, and one row for the
    rest, at the offset of the first line that is not whole.
    """
    spec, item = opened.spec, opened.item
    limit = spec.limits.max_record_bytes
    start, end = item.start, item.end
    seen = start
    try:
        for offset, line in _lines_from(opened, start, limit):
            if end >= 0 and offset >= end:
                return
            if line is None:
                seen = offset
                refusal = Refusal("record-too-large", f"a line of more than {limit} bytes")
                yield opened.unreadable(offset, refusal)
                continue
            seen = offset + len(line) + 1
            if offset == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line or line.isspace():
                continue
            try:
                digest = xxhash.xxh3_128_digest(line)
                yield record_of(_parse(line), spec, item.uri, offset, digest, MEDIA_TYPE)
            except Refusal as refusal:
                yield opened.unreadable(offset, refusal)
    except Refusal as refusal:
        yield opened.unreadable(seen, refusal)


def _lines_from(opened: Opened, start: int, limit: int) -> Iterator[tuple[int, bytes | None]]:
    stream = opened.stream()
    if start == 0:
        yield from lines(stream, 0, limit)
        return
    opened.raw.seek(start - 1)
    found = lines(stream, start - 1, limit)
    next(found, None)  # the end of the line before, which belongs to the range before
    yield from found


def _parse(line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Refusal("bad-json", str(error)) from None
    except RecursionError:
        raise Refusal("bad-json", "nested too deep") from None
    if not isinstance(row, dict):
        raise Refusal("bad-json", f"found {type(row).__name__}, expected an object")
    return row


def cut(opened: Opened, partition_bytes: int) -> list[Item]:
    """Byte ranges of about ``partition_bytes``; a compressed file stays whole."""
    item = opened.item
    if opened.compression is not None or item.size <= partition_bytes:
        return [item]
    edges = [*range(0, item.size, partition_bytes), item.size]
    if len(edges) > 2 and edges[-1] - edges[-2] < partition_bytes // 2:
        del edges[-2]
    return [replace(item, start=a, end=b, share=b - a) for a, b in pairwise(edges)]
