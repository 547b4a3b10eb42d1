"""Tar archives of regular files, written and read in one pass (POSIX.1-1988 ``ustar``).

The writer takes any sink that has ``write``; its bytes depend on names and contents alone: no
time, no owner, members in ascending order of name. The reader takes nothing on trust: a name that
could leave a folder, a link, a bad checksum or a missing byte is an error with its position.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dataflow.shards.errors import ShardError

BLOCK = 512
MAX_SIZE = 8**11 - 1
"""The largest member, in bytes: eleven octal digits."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}(?:\.[a-z0-9]{1,12}){1,3}")
"""``key.ext`` or ``key.part.ext``: no folder, no dot in front, nothing that a shell minds."""

_NUMBERS = re.compile(rb"([0-7]{11})\x00([0-7]{6})\x00 ")
_READ_BYTES = 1 << 26
_ZEROS = bytes(BLOCK)


def header(name: str, size: int) -> bytes:
    """The 512-byte header of a regular file of mode 0644, without owner or time.

    Raises
    ------
    ShardError
        If the name is not a `NAME` or the size is beyond `MAX_SIZE`.
    """
    if NAME.fullmatch(name) is None:
        raise ShardError(
            f"found member name {name!r}, expected KEY.ext of letters, digits, - and _"
        )
    if not 0 <= size <= MAX_SIZE:
        raise ShardError(f"{name}: found {size} bytes, expected at most {MAX_SIZE}")
    start = b"%s0000644\x000000000\x000000000\x00%011o\x0000000000000\x00" % (
        name.encode().ljust(100, b"\0"),
        size,
    )
    end = b"0".ljust(101, b"\0") + b"ustar\x0000"
    blank = (start + b" " * 8 + end).ljust(BLOCK, b"\0")
    return (start + b"%06o\x00 " % sum(blank) + end).ljust(BLOCK, b"\0")


class TarWriter:
    """Writes members one after the other; `close` ends the archive (the sink stays open)."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._last = ""
        self.offset = 0

    def add(self, name: str, *chunks: bytes | memoryview) -> int:
        """Write a member made of chunks of bytes; return the offset of its first byte.

        Raises
        ------
        ShardError
            If ``name`` does not come after the last one.
        """
        if name <= self._last:
            raise ShardError(f"member {name} after {self._last}: names must ascend")
        self._last = name
        size = sum(map(len, chunks))
        self._sink.write(header(name, size))
        start = self.offset + BLOCK
        for chunk in chunks:
            self._sink.write(chunk)
        padding = -size % BLOCK
        if padding:
            self._sink.write(_ZEROS[:padding])
        self.offset = start + size + padding
        return start

    def close(self) -> None:
        """Write the two zero blocks that end an archive."""
        self._sink.write(_ZEROS + _ZEROS)
        self.offset += 2 * BLOCK


@dataclass(frozen=True)
class Member:
    """A member: its name, the offset of its first byte in the archive, and its bytes."""

    name: str
    offset: int
    data: bytes


def read_members(source: Any, where: str) -> Iterator[Member]:
    """Read an archive from its start, with memory for one member.

    Parameters
    ----------
    source : binary file
        Anything with ``read(n)``.
    where : str
        Its name, for errors.

    Raises
    ------
    ShardError
        If it ends early, has a damaged or foreign header, or goes on after its end.
    """
    offset = 0
    last = ""
    while True:
        block = _read(source, BLOCK, offset, where, "a member header or the end of the archive")
        if block == _ZEROS:
            _check_end(source, offset + BLOCK, where)
            return
        name, size = _parse(block, offset, where)
        if name <= last:
            raise ShardError(f"{where}: byte {offset}: member {name} after {last}: not ascending")
        last = name
        offset += BLOCK
        data = _read(source, size, offset, where, f"{size} bytes of member {name}")
        yield Member(name, offset, data)
        padding = -size % BLOCK
        if _read(source, padding, offset + size, where, f"the padding of {name}").strip(b"\0"):
            raise ShardError(f"{where}: byte {offset + size}: padding of {name} is not zero")
        offset += size + padding


def skim_members(source: Any, where: str) -> Iterator[tuple[str, int, int]]:
    """The name, the header's offset and the whole length of each member, by its headers alone.

    Parameters
    ----------
    source : seekable binary file

    Raises
    ------
    ShardError
        As `read_members`, for what headers show.
    """
    offset = 0
    while True:
        source.seek(offset)
        block = _read(source, BLOCK, offset, where, "a member header or the end of the archive")
        if block == _ZEROS:
            return
        name, size = _parse(block, offset, where)
        length = BLOCK + size + -size % BLOCK
        yield name, offset, length
        offset += length


def _parse(block: bytes, offset: int, where: str) -> tuple[str, int]:
    at = f"{where}: byte {offset}"
    if block[257:263] != b"ustar\0":
        raise ShardError(f"{at}: found {block[257:263]!r}, expected a ustar header")
    digits = _NUMBERS.fullmatch(block[124:136] + block[148:156])
    if digits is None:
        raise ShardError(f"{at}: damaged header: its size or checksum is not an octal number")
    size, stored = (int(number, 8) for number in digits.groups())
    if stored != sum(block) - sum(block[148:156]) + 8 * 0x20:
        raise ShardError(f"{at}: damaged header: its checksum does not hold")
    if block[156:157] not in (b"0", b"\0"):
        raise ShardError(f"{at}: found a member of type {block[156:157]!r}, expected regular files")
    name = block[:100].rstrip(b"\0").decode("ascii", "replace")
    if block[345:500].strip(b"\0") or NAME.fullmatch(name) is None:
        raise ShardError(f"{at}: found member name {name!r}, expected KEY.ext without any folder")
    return name, size


def _check_end(source: Any, offset: int, where: str) -> None:
    rest = _read(source, BLOCK, offset, where, "the second zero block")
    while rest:
        if rest.strip(b"\0"):
            raise ShardError(f"{where}: byte {offset}: found bytes after the end of the archive")
        offset += len(rest)
        rest = source.read(_READ_BYTES)


def _read(source: Any, size: int, offset: int, where: str, what: str) -> bytes:
    parts = []
    left = size
    while left:
        part = source.read(min(left, _READ_BYTES))
        if not part:
            raise ShardError(
                f"{where}: truncated: ends at byte {offset + size - left}, expected {what}; "
                "build the run again, or copy the file again"
            )
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
