"""What packed sequences are made of."""

from __future__ import annotations

from typing import NamedTuple


class Piece(NamedTuple):
    """A stretch of one document's tokens in a packed sequence: one segment of ``cu_seqlens``."""

    document: int
    token_start: int
    token_length: int
