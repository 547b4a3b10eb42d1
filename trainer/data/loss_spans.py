"""Which tokens of a shard's documents carry loss, where a document says so.

A token shard holds rows (document, start, end) beside each sample's ids (`dataflow.shards.tokens`):
the tokens of a document that a model is to learn to say, such as the answers of a dialogue. A
document without a row carries loss on every token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow.shards import TokenSample
from dataflow.shards.npy import npy_header
from dataflow.shards.tar import BLOCK, skim_members

_WITHOUT_A_ROW = npy_header(np.dtype(np.int64), (0, 3))


class LossSpans:
    """Of one shard; documents are known by the byte of the tar that their ids begin at.

    Memory: 16 bytes a row, and a dictionary's entry a document that has rows.
    """

    def __init__(self, rows: Mapping[int, npt.NDArray[np.int64]]) -> None:
        self._rows = dict(rows)

    @classmethod
    def of_samples(cls, samples: Iterable[TokenSample]) -> LossSpans:
        """Those of a shard's samples."""
        rows: dict[int, npt.NDArray[np.int64]] = {}
        for sample in samples:
            for document in np.unique(sample.spans[:, 0]).tolist():
                begin = sample.offset + int(sample.offsets[document]) * sample.ids.itemsize
                rows[begin] = sample.spans[sample.spans[:, 0] == document, 1:]
        return cls(rows)

    def carries(self, document: int, first: int, count: int) -> npt.NDArray[np.bool_] | None:
        """Which of ``count`` tokens of a document from its ``first`` carry loss; None: all do.

        Parameters
        ----------
        document : the byte of the tar that its ids begin at
        """
        rows = self._rows.get(document)
        if rows is None:
            return None
        mask = np.zeros(count, bool)
        for start, end in np.clip(rows - first, 0, count).tolist():
            mask[start:end] = True
        return mask


def has_spans(shard: Any, where: str) -> bool:
    """Whether any document of a token shard has a row, by the headers of its members alone.

    Parameters
    ----------
    shard : seekable binary file

    Raises
    ------
    ShardError
        For what the headers show to be damaged.
    """
    for name, offset, _ in skim_members(shard, where):
        if name.endswith(".spans.npy"):
            shard.seek(offset + BLOCK)
            if shard.read(len(_WITHOUT_A_ROW)) != _WITHOUT_A_ROW:
                return True
    return False
