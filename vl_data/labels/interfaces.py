"""Who gives labels: anything that turns items into the tables of ``vl_data.labels.tables``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from vl_data.labels.items import Captionable, Pair


class Captioner(Protocol):
    """Refines captions and describes images."""

    def caption(self, items: Sequence[Captionable]) -> pa.Table:
        """A row of ``CAPTIONS`` for each different image and source caption."""
        ...


class Tagger(Protocol):
    """Says which capability an instruction asks for."""

    def tag(self, pairs: Sequence[Pair]) -> pa.Table:
        """A row of ``TAGS`` for each different pair."""
        ...
