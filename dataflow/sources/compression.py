"""Compressed files as bounded streams: what decodes is delivered, then the damage is reported.

The kind is told by the first bytes, never by the name. Every stream counts what goes in and out, so
that a small file that expands without end is stopped by a count and not by memory.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

import zstandard
from fastwarc.stream_io import Lz4Reader

from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Limits

_FEED = 1 << 16
_ZSTD_FEED = 1 << 10
"""A block of zstd takes 4 bytes at least and gives 128 KiB at most: 1 KiB in, 32 MiB out."""
_MEMORY = 256 << 20

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
MAGIC_BYTES = 6
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4")


class Reader(Protocol):
    """What a stream is read from."""

    def read(self, size: int, /) -> bytes: ...


class _Decoder(Protocol):
    def decompress(self, data: bytes, size: int, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...


def kind_of(head: bytes) -> str | None:
    """The compression that a file's first ``MAGIC_BYTES`` bytes announce."""
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    return None


def strip_suffix(name: str) -> str:
    """A file name without the suffix of its compression."""
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


class _Gzip:
    """``zlib`` with the interface of ``bz2`` and ``lzma``."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, size: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, size)


class _Zstd:
    """``zstandard`` with the interface of ``bz2`` and ``lzma``."""

    def __init__(self) -> None:
        inner = zstandard.ZstdDecompressor(max_window_size=_MEMORY)
        self._inner = inner.decompressobj()
        self._input = b""
        self._output = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof and not self._output

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._input

    @property
    def needs_input(self) -> bool:
        return not self._input and not self._output

    def decompress(self, data: bytes, size: int) -> bytes:
        self._input += data
        while self._input and not self._output and not self._inner.eof:
            feed, self._input = self._input[:_ZSTD_FEED], self._input[_ZSTD_FEED:]
            self._output = self._inner.decompress(feed)
        out, self._output = self._output[:size], self._output[size:]
        return out


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY),
    "zstd": _Zstd,
}
_ERRORS = (zlib.error, OSError, lzma.LZMAError, zstandard.ZstdError, EOFError)


class Expanded:
    """A compressed file as a stream; also every concatenated member of it.

    ``read`` gives up to ``size`` bytes and ``b""`` at the end. It raises ``Refusal`` (``corrupt``,
    ``truncated`` or ``expansion-limit``) once, after everything before the damage was given.
    """

    def __init__(self, raw: Reader, kind: str, limits: Limits) -> None:
        self._raw = raw
        self._make = _DECODERS[kind]
        self._kind = kind
        self._limits = limits
        self._decoder: _Decoder | None = None
        self._pending = b""
        self._done = False
        self.bytes_in = 0
        self.bytes_out = 0
        self.members = 0

    def read(self, size: int = _FEED) -> bytes:
        while not self._done:
            out = self._step(min(size, 1 << 20))
            if out:
                self.bytes_out += len(out)
                free = self._limits.max_record_bytes
                if self.bytes_out > free + self._limits.max_expansion * self.bytes_in:
                    self._done = True
                    raise Refusal(
                        "expansion-limit",
                        f"{self.bytes_out} bytes from {self.bytes_in} of {self._kind}",
                    )
                return out
        return b""

    def _feed(self) -> bytes:
        data = self._pending or self._raw.read(_FEED)
        self._pending = b""
        self.bytes_in += len(data)
        return data

    def _step(self, size: int) -> bytes:
        if self._decoder is None:
            data = self._feed()
            if self.members:  # tools pad with zeros between and behind members
                data = data.lstrip(b"\0")
            if not data:
                self._done = self._pending == b""
                return b""
            self._decoder = self._make()
            self.members += 1
        elif self._decoder.needs_input:
            data = self._feed()
            if not data:
                self._done = True
                raise Refusal("truncated", f"{self._kind} data end inside member {self.members}")
        else:
            data = b""
        try:
            out = self._decoder.decompress(data, size)
        except _ERRORS as error:
            self._done = True
            raise Refusal("corrupt", f"{self._kind} member {self.members}: {error}") from None
        if self._decoder.eof:
            self._pending = self._decoder.unused_data
            self.bytes_in -= len(self._pending)
            self._decoder = None
        return out


class _Lz4:
    """LZ4 frames through fastwarc, with the same errors."""

    def __init__(self, raw: Reader) -> None:
        self._inner = Lz4Reader(cast(BinaryIO, raw))

    def read(self, size: int = _FEED) -> bytes:
        try:
            data: bytes = self._inner.read(size)
        except OSError as error:
            raise Refusal("corrupt", f"lz4: {error}") from None
        return data


def expand(raw: Reader, kind: str | None, limits: Limits) -> Reader:
    """``raw`` decompressed as ``kind`` (None: as it is)."""
    if kind is None:
        return raw
    if kind == "lz4":
        return _Lz4(raw)
    return Expanded(raw, kind, limits)


def read_whole(stream: Reader, limit: int) -> bytes:
    """Everything a stream holds.

    Raises
    ------
    Refusal
        ``record-too-large`` as soon as more than ``limit`` bytes came, or what the stream raises.
    """
    parts: list[bytes] = []
    size = 0
    while data := stream.read(1 << 20):
        parts.append(data)
        size += len(data)
        if size > limit:
            raise Refusal("record-too-large", f"more than {limit} bytes")
    return b"".join(parts) if len(parts) != 1 else parts[0]
