"""Hashes files of a run while they are read, and lets go when nobody waits any more."""

from __future__ import annotations

import io
import threading
from typing import Any

import blake3
import pyarrow as pa

from dataflow.store import Store

HASH_BYTES = 4 << 20
"""Read at a time."""


class Closed(Exception):
    """Who wanted the hash is closed."""


class Hashing(io.RawIOBase):
    """Hashes (BLAKE3) what is read through it; once ``closed`` is set there is nothing more."""

    def __init__(self, source: pa.NativeFile, closed: threading.Event) -> None:
        super().__init__()
        self._source = source
        self._closed = closed
        self._hash = blake3.blake3()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._closed.is_set():
            raise Closed
        data = self._source.read(len(buffer))
        self._hash.update(data)
        buffer[: len(data)] = data
        return len(data)

    @property
    def digest(self) -> str:
        """Of what was read so far, in hexadecimal."""
        return str(self._hash.hexdigest())


def hash_of(store: Store, path: str, closed: threading.Event) -> str:
    """The BLAKE3 of a whole file; raises Closed, and OSError or Arrow's errors as reading does."""
    with store.open(path) as raw:
        hashing = Hashing(raw, closed)
        buffer = bytearray(HASH_BYTES)
        while hashing.readinto(buffer):
            pass
        return hashing.digest
