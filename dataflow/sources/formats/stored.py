"""A record of an archive, whichever the archive's format."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dataflow.sources.spec import Outcome


class Stored(NamedTuple):
    """An archive record: its block, and what its header says.

    ``is_http``: the block is an HTTP response; else it is the payload of type ``content_type``.
    ``cut``: the archive stored only a part and says so.
    """

    offset: int
    block: bytes
    is_http: bool
    content_type: str
    url: str
    record_id: str
    captured_at: int | None
    cut: bool = False


Make = Callable[[Stored], Outcome | None]
"""What becomes of a record; None: nothing that anyone is told of."""
