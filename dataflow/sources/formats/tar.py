"""Members of a tar archive out of a stream: each with its place, and damage one row a stretch.

The standard library's reader ends without a word at a damaged header. This one says so, and goes on
at the next header whose checksum holds.
Format: POSIX.1-2001 (pax), and GNU's long names.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from dataflow.sources.compression import Reader
from dataflow.sources.refusal import Refusal

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER = 1 << 20
"""What a long name or a pax header may have."""
_PIECE = 1 << 20


class Member(NamedTuple):
    """A file in the archive: ``offset`` is where its own header starts.

    ``data`` is None for a member over the limit, whose ``size`` says how large it is.
    """

    offset: int
    name: str
    size: int
    data: bytes | None


class Damage(NamedTuple):
    """A place that is no member."""

    offset: int
    refusal: Refusal


class _Stream:
    """Exact reads; ``at`` is the offset of the next byte."""

    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self.at = 0

    def read(self, size: int) -> bytes:
        parts, left = [], size
        while left and (piece := self._stream.read(min(left, _PIECE))):
            parts.append(piece)
            left -= len(piece)
        self.at += size - left
        return b"".join(parts)

    def skip(self, size: int) -> bool:
        end = self.at + size
        while self.at < end and self.read(min(end - self.at, _PIECE)):
            pass
        return self.at == end


def members(stream: Reader, limit: int) -> Iterator[Member | Damage]:
    """The regular files of an archive, in order; folders and links are passed over.

    What the stream raises comes as the last ``Damage``, and so does an archive that ends inside a
    member. Memory: one member of at most ``limit`` bytes.
    """
    source = _Stream(stream)
    said: dict[str, str] = {}  # of the next member, by headers before its own
    lost = False
    while True:
        offset = source.at
        try:
            block = source.read(_BLOCK)
            if not block:
                return
            if not block.strip(b"\0"):
                continue  # the end is marked by zeros; archives written one behind another go on
            header = _header(block)
            lost = False
            if header.type in _SAYING:
                said |= _said(header, _padded(source, header.size))
                continue
            size = int(said["size"]) if said.get("size", "").isdecimal() else header.size
            found = _body(source, header, said.get("path", header.name), size, limit)
            said = {}
            if found is not None:
                yield found._replace(offset=offset)
        except Refusal as refusal:
            if not (lost and refusal.reason == "bad-archive-record"):
                yield Damage(offset, refusal)
            lost = refusal.reason == "bad-archive-record"
            if not lost:
                return


_SAYING = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
"""Types of headers that say something of the next member (or, ``XGLTYPE``, of all)."""
_EMPTY = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE)
"""Types without data, whatever the size in their headers."""


def _header(block: bytes) -> tarfile.TarInfo:
    if len(block) < _BLOCK:
        raise Refusal("truncated", "the data end inside a header")
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise Refusal("bad-archive-record", f"tar header: {error}") from None
    if header.size < 0:
        raise Refusal("bad-archive-record", f"tar header: a size of {header.size} bytes")
    return header


def _body(
    source: _Stream, header: tarfile.TarInfo, name: str, size: int, limit: int
) -> Member | None:
    data: bytes | None = None
    if header.type in _EMPTY:
        return None
    regular = header.type in tarfile.REGULAR_TYPES
    start = source.at
    if regular and size <= limit:
        data = source.read(size)
        whole = len(data) == size
        if whole:
            source.skip(_fill(size) - size)  # the last member's may be cut off: no harm
    else:
        whole = source.skip(_fill(size))
    if not whole:
        found = f"{source.at - start} of {size} bytes"
        raise Refusal("truncated", f"the data end inside {_shown(name)}: found {found}")
    return Member(0, name, size, data) if regular else None


def _said(header: tarfile.TarInfo, data: bytes) -> dict[str, str]:
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    return _pax(data) if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE) else {}


def _fill(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _padded(source: _Stream, size: int) -> bytes:
    """What a header says, of which more than ``_MAX_HEADER`` bytes are passed over."""
    kept = min(size, _MAX_HEADER)
    data = source.read(kept)
    source.skip(_fill(size) - kept)
    return data


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _pax(data: bytes) -> dict[str, str]:
    """Records ``LENGTH KEY=VALUE\\n``; what is malformed ends them."""
    found: dict[str, str] = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(data):
            break
        record, data = data[: int(length)], data[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
    return found
