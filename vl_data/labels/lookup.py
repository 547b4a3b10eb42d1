"""Captions of a table by what they were given for: an image, and the caption of its source."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from blake3 import blake3
from numpy.typing import NDArray

from vl_data.labels.tables import about_labels


class Labelled(NamedTuple):
    """What a model said of an image."""

    caption: str
    description: str


class CaptionLabels:
    """A table of `CAPTIONS`, held in memory: its bytes, and eight more a row."""

    def __init__(self, table: pa.Table) -> None:
        about_labels(table)
        self._table = table.combine_chunks()
        heads = [digest[:8] for digest in table["digest"].to_pylist()]
        first: NDArray[np.uint64] = np.frombuffer(b"".join(heads), ">u8").astype(np.uint64)
        self._order = np.argsort(first, kind="stable")
        self._first = first[self._order]

    def __len__(self) -> int:
        return len(self._first)

    def find(self, digest: bytes, caption: str | None) -> Labelled | None:
        """What was said of an image with this caption of its source, or of the image alone where
        it was shown without; None where neither was labelled.

        Parameters
        ----------
        digest: BLAKE3 of the image's original bytes.
        caption: of the source; None without one.
        """
        head = np.uint64(int.from_bytes(digest[:8]))
        begin, end = (int(np.searchsorted(self._first, head, side)) for side in ("left", "right"))
        rows = [row for row in self._table.take(self._order[begin:end]).to_pylist()
                if row["digest"] == digest and row["caption"] is not None]  # fmt: skip
        wanted = None if caption is None else blake3(caption.encode()).digest()
        for key in dict.fromkeys((wanted, None)):
            for row in rows:
                if row["caption_digest"] == key:
                    return Labelled(row["caption"], row["description"] or "")
        return None
