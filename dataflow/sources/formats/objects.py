"""JSON objects of a file with their places: one a line, or the elements of one array.

LLaVA's lists are arrays of a gigabyte: they are cut into elements as they stream by, and each is
parsed by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from dataflow.sources.compression import Reader, strip_suffix
from dataflow.sources.formats.lines import lines
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal

_PIECE = 1 << 20
_TOKEN = re.compile(rb'\\.|["{}\[\],]', re.DOTALL)
_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


class Object(NamedTuple):
    """An object, or why there is none; ``offset`` in the decompressed file, ``data`` as stored."""

    offset: int
    data: bytes
    row: dict[str, Any] | Refusal


def objects(opened: Opened) -> Iterator[Object]:
    """Every object of a ``.jsonl`` file (of the item's range), of an array, or the only one.

    What is wrong with the stream itself comes as the last ``Object``.
    """
    head = opened.head(4096).removeprefix(_BOM).lstrip(_BLANK)
    cut = opened.item.start > 0 or opened.item.end >= 0
    if head.startswith(b"[") and not cut:
        found = _elements(opened.stream(), opened.spec.limits.max_record_bytes)
    elif cut or _is_lines(head, opened):
        found = _lines(opened)
    else:
        data = opened.whole()
        found = iter([(0, data, None)])
    for offset, data, refusal in found:
        yield Object(offset, data, refusal or _parsed(data))


_Found = tuple[int, bytes, Refusal | None]


def _is_lines(head: bytes, opened: Opened) -> bool:
    """Whether each line is an object: by the name, else where the first line is one."""
    if strip_suffix(opened.item.uri.lower()).endswith((".jsonl", ".ndjson")):
        return True
    line, newline, _ = head.partition(b"\n")
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return bool(newline)


def _lines(opened: Opened) -> Iterator[_Found]:
    limit = opened.spec.limits.max_record_bytes
    start, end = opened.item.start, opened.item.end
    stream = opened.stream()
    if start:
        opened.raw.seek(start - 1)
    found = lines(stream, max(start - 1, 0), limit)
    if start:
        next(found, None)  # the end of a line that belongs to the range before
    seen = start
    try:
        for offset, line in found:
            if end >= 0 and offset >= end:
                return
            seen = offset
            if line is None:
                yield offset, b"", Refusal("record-too-large", f"a line of more than {limit} bytes")
                continue
            seen = offset + len(line) + 1
            line = line.removeprefix(_BOM) if offset == 0 else line
            if line and not line.isspace():
                yield offset, line, None
    except Refusal as refusal:
        yield seen, b"", refusal


def _elements(stream: Reader, limit: int) -> Iterator[_Found]:
    """The elements of the array that a stream holds, each without the blanks around it."""
    held = b""
    at = scanned = depth = first = 0
    quoted = False
    skipping = -1
    try:
        while piece := stream.read(_PIECE):
            held += piece
            taken = 0
            for match in _TOKEN.finditer(held, scanned):
                scanned = match.end()
                token = match[0]
                if quoted:
                    quoted = token != b'"'
                elif token == b'"':
                    quoted = True
                elif token in (b"{", b"["):
                    depth += 1
                    if depth == 1:
                        taken = first = scanned
                elif token in (b"}", b"]", b","):
                    depth -= token != b","
                    if depth == (0 if token == b"]" else 1) and token in (b",", b"]"):
                        element = held[first : match.start()]
                        if skipping >= 0 or len(element) > limit:
                            refusal = Refusal("record-too-large", f"over {limit} bytes")
                            yield skipping if skipping >= 0 else at + first, b"", refusal
                        elif element.strip(_BLANK):
                            blank = len(element) - len(element.lstrip(_BLANK))
                            yield at + first + blank, element.strip(_BLANK), None
                        skipping = -1
                        taken = first = scanned
                        if depth == 0:
                            return
            # A lone backslash may go on in the next piece.
            scanned = max(scanned, len(held) - held.endswith(b"\\"))
            if len(held) - first > limit:
                skipping = at + first if skipping < 0 else skipping
                taken = first = scanned
            held, at = held[taken:], at + taken
            scanned, first = scanned - taken, first - taken
    except Refusal as refusal:
        yield at + first, b"", refusal
        return
    yield at + first, b"", Refusal("truncated", "the data end inside a JSON array")


def _parsed(data: bytes) -> dict[str, Any] | Refusal:
    try:
        row = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        reason = "encoding" if "UTF-8" in str(error) or "utf-8" in str(error) else "bad-json"
        return Refusal(reason, str(error))
    except RecursionError:
        return Refusal("bad-json", "nested too deep")
    if not isinstance(row, dict):
        return Refusal("bad-json", f"found {type(row).__name__}, expected an object")
    return row
