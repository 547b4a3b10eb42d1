"""Lines of a stream of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from dataflow.sources.compression import Reader

_CHUNK = 1 << 20


def lines(stream: Reader, start: int, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Each line's absolute offset and bytes without the newline; None for one over ``limit``.

    ``start`` is the offset of the stream's first byte. What a stream raises passes through, after
    every whole line before it was given.
    """
    parts: list[bytes] = []
    held = 0
    skipping = False
    at = start
    offset = start
    while chunk := stream.read(_CHUNK):
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            line = b"".join([*parts, piece]) if parts else piece
            yield at, None if skipping or len(line) > limit else line
            parts, held, skipping = [], 0, False
            offset += len(piece) + 1
            at = offset
        rest = pieces[-1]
        offset += len(rest)
        if rest and not skipping:
            parts.append(rest)
            held += len(rest)
            if held > limit:
                parts, skipping = [], True
    if parts or skipping:
        yield at, None if skipping else b"".join(parts)
