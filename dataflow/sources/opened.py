"""An item while it is read: its bytes, decompressed and bounded, and the spec it is read under."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

import xxhash

from dataflow.sources import compression
from dataflow.sources.compression import Reader
from dataflow.sources.filesystems import is_remote, open_local, open_remote, stamp
from dataflow.sources.refusal import Refusal, from_os_error
from dataflow.sources.spec import Item, Record, SourceSpec, Unreadable


class Opened:
    """One open item.

    Attributes
    ----------
    raw: the file as stored, at its start; local ones are checked against the plan's fingerprint.
    compression: what the first bytes say, or None.
    """

    def __init__(self, spec: SourceSpec, item: Item) -> None:
        self.spec = spec
        self.item = item
        self.raw: BinaryIO = (
            open_remote(item.locator, spec.storage)
            if is_remote(item.locator)
            else open_local(item.locator)
        )
        try:
            self._check_unchanged()
            self.compression = self._probe()
        except BaseException:
            self.raw.close()
            raise

    def _check_unchanged(self) -> None:
        if is_remote(self.item.locator):
            return
        info = os.fstat(self.raw.fileno())
        planned = self.item.fingerprint
        same = stamp(info) == planned if ":" not in planned else info.st_size == self.item.size
        if planned and not same:
            raise Refusal("changed", f"{info.st_size} bytes now, {self.item.size} when planned")

    def _probe(self) -> str | None:
        if not self.raw.seekable():
            return None
        try:
            head = self.raw.read(compression.MAGIC_BYTES)
            self.raw.seek(0)
        except OSError as error:
            raise from_os_error(error) from None
        return compression.kind_of(head)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def stream(self) -> Reader:
        """The file from its start, decompressed."""
        if self.raw.seekable():
            self.raw.seek(0)
        return compression.expand(_Checked(self.raw), self.compression, self.spec.limits)

    def head(self, size: int) -> bytes:
        """Up to ``size`` first bytes, decompressed; damage behind them is not met yet."""
        if not self.raw.seekable():
            return b""
        data = b""
        stream = self.stream()
        try:
            while len(data) < size and (more := stream.read(size - len(data))):
                data += more
        except Refusal:
            pass  # met again, and reported, by whoever reads on
        return data

    def whole(self) -> bytes:
        """The whole file, decompressed, for formats of one record a file.

        Raises
        ------
        Refusal
            ``record-too-large``, ``empty``, ``truncated``, ``corrupt``, ``changed`` and so on.
        """
        limit = self.spec.limits.max_record_bytes
        if self.compression is None and self.item.size > limit:
            raise Refusal("record-too-large", f"{self.item.size} bytes, limit {limit}")
        if self.compression is None:
            if self.raw.seekable():
                self.raw.seek(0)  # ``head`` may have read on
            data = compression.read_whole(_Checked(self.raw), limit)
            self._check_digest(data)
        else:
            data = compression.read_whole(self.stream(), limit)
        if not data:
            raise Refusal("empty")
        return data

    def _check_digest(self, data: bytes) -> None:
        kind, _, digest = self.item.fingerprint.partition(":")
        if kind == "sha256" and hashlib.sha256(data).hexdigest() != digest:
            raise Refusal("changed", "the content is not what RECORD lists")
        if kind == "xxh3" and xxhash.xxh3_128_hexdigest(data) != digest:
            raise Refusal("changed", "the content is not what was planned")

    def unreadable(self, offset: int, refusal: Refusal) -> Unreadable:
        """The row for a refused record at ``offset``."""
        return Unreadable(self.item.uri, offset, refusal.reason, refusal.detail)

    def one(self, text: str, data: bytes, media_type: str, encoding: str) -> Record:
        """The record of a file that is one document."""
        if not text or text.isspace():
            raise Refusal("no-text")
        return Record(
            uri=self.item.uri,
            offset=0,
            text=text,
            digest=xxhash.xxh3_128_digest(data),
            media_type=media_type,
            license=self.item.license or self.spec.license,
            encoding=encoding,
        )


class _Checked:
    """A raw file whose system errors are refusals."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def read(self, size: int) -> bytes:
        try:
            return self._raw.read(size)
        except OSError as error:
            raise from_os_error(error) from None

    def seek(self, offset: int) -> int:
        return self._raw.seek(offset)

    def tell(self) -> int:
        return self._raw.tell()
