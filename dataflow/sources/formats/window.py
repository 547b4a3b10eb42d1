"""A window that moves over an archive's decompressed bytes and knows where members start."""

from __future__ import annotations

import re
import zlib

from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal, from_os_error

_CHUNK = 1 << 16
_GZIP = b"\x1f\x8b\x08"


class Window:
    """Bytes ahead of the current place, filled on demand.

    Attributes
    ----------
    damage: why nothing more can be filled in, where that is not the end of the file.
    """

    def __init__(self, opened: Opened, start: int) -> None:
        self._raw = opened.raw
        self._gzip = opened.compression == "gzip"
        self.damage: Refusal | None = None
        self._buffer = bytearray()
        self._position = start  # of the buffer's first byte: stored, or since ``start`` if gzip
        self._begin(start)

    def _begin(self, start: int) -> None:
        self._raw.seek(start)
        self._stored = start  # where the next stored byte comes from
        self._pending = b""
        self._decoder: zlib._Decompress | None = None
        self._members: dict[int, int] = {}
        self._member = start
        self.damage = None

    # ---- filling ---------------------------------------------------------------------------------

    def fill(self, size: int) -> bool:
        """Whether ``size`` bytes are ahead."""
        while len(self._buffer) < size:
            if self.damage is not None:
                return False
            more = self._more()
            if more is None:
                return False
            self._buffer += more
        return True

    def _read(self) -> bytes:
        if self._pending:
            data, self._pending = self._pending, b""
            return data
        try:
            data = self._raw.read(_CHUNK)
        except OSError as error:
            self.damage = from_os_error(error)
            return b""
        self._stored += len(data)
        return data

    def _more(self) -> bytes | None:
        data = self._read()
        if not self._gzip:
            return data or None
        if self._decoder is None:
            data = data.lstrip(b"\0")
            while not data and self.damage is None:
                data = self._read()
                if not data:
                    return None
                data = data.lstrip(b"\0")
            self._member = self._stored - len(data)
            self._members[self._position + len(self._buffer)] = self._member
            self._decoder = zlib.decompressobj(wbits=31)
        elif not data:
            self.damage = self.damage or Refusal("truncated", "the data end inside a member")
            return None
        try:
            out = self._decoder.decompress(data, 1 << 20)
        except zlib.error as error:
            self.damage = Refusal("corrupt", f"gzip: {error}")
            return None
        self._pending = self._decoder.unconsumed_tail
        if self._decoder.eof:
            self._pending = self._decoder.unused_data
            self._decoder = None
        return out

    # ---- moving ----------------------------------------------------------------------------------

    def offset(self, shared: int) -> int:
        """Where the current place is in the stored file, or ``shared`` inside a gzip member."""
        self.fill(1)
        if not self._gzip:
            return self._position
        if not self._buffer and self.damage is not None:
            return self._member if self._position in self._members else shared
        return self._members.get(self._position, shared)

    def peek(self, size: int) -> bytes:
        """Up to ``size`` bytes ahead."""
        self.fill(size)
        return bytes(self._buffer[:size])

    def take(self, size: int) -> bytes:
        """Up to ``size`` bytes, passed over."""
        self.fill(size)
        out = bytes(self._buffer[:size])
        self._advance(len(out))
        return out

    def discard(self, size: int) -> int:
        """Pass over up to ``size`` bytes without holding them; returns how many there were."""
        left = size
        while left and self.fill(1):
            step = min(left, len(self._buffer))
            self._advance(step)
            left -= step
        return size - left

    def skip(self, characters: bytes) -> None:
        """Pass over any of ``characters``, but not into the next member's first byte."""
        while self.fill(1) and self._buffer[0] in characters:
            self._advance(1)

    def header(self, limit: int) -> bytes | None:
        """The header block ahead up to its empty line, passed over; None if it has no end."""
        end = -1
        size = 0
        while end < 0:
            size = min(limit, max(size + _CHUNK, _CHUNK))
            complete = self.fill(size)
            found = re.search(rb"\r?\n\r?\n", self._buffer[:size])
            if found is not None:
                end = found.end()
            elif size == limit or not complete:
                return None
        return self.take(end)

    def line(self, limit: int) -> bytes | None:
        """The line ahead, passed over, without its end; None if it has no end within ``limit``."""
        self.fill(limit)
        end = self._buffer.find(b"\n", 0, limit)
        return self.take(end + 1).rstrip(b"\r\n") if end >= 0 else None

    def find(self, pattern: re.Pattern[bytes]) -> bool:
        """Go to the byte behind the first byte of the next match, or to the next member."""
        while True:
            found = pattern.search(self._buffer)
            inside = [m - self._position for m in self._members if m > self._position]
            ahead = [i for i in inside if i < len(self._buffer)]
            if found is not None:
                ahead.append(found.start() + 1)
            if ahead:
                self._advance(min(ahead))
                return True
            self._advance(max(0, len(self._buffer) - 64))
            if not self.fill(len(self._buffer) + 1):
                return False

    def next_member(self, beginning: bytes) -> bool:
        """Find the next member in the stored file that decodes to ``beginning``."""
        if not self._gzip:
            return False
        at = self._member + 1
        overlap = b""
        self._raw.seek(at)
        while data := self._raw.read(1 << 20):
            block = overlap + data
            base = at - len(overlap)
            place = block.find(_GZIP)
            while place >= 0:
                if self._decodes(base + place, beginning):
                    self._buffer.clear()
                    self._position += 1 << 40  # a new stretch: positions only tell members apart
                    self._begin(base + place)
                    return True
                place = block.find(_GZIP, place + 1)
            at += len(data)
            overlap = block[-2:]
            self._raw.seek(at)
        return False

    def _decodes(self, start: int, beginning: bytes) -> bool:
        self._raw.seek(start)
        try:
            head = zlib.decompressobj(wbits=31).decompress(self._raw.read(4096), 64)
        except zlib.error:
            return False
        return head.startswith(beginning)

    def _advance(self, size: int) -> None:
        del self._buffer[:size]
        self._position += size
        if len(self._members) > 1024:
            recent = {p: m for p, m in self._members.items() if p >= self._position}
            self._members = recent
