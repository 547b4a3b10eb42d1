"""What a student is fitted on: the very counts and bins that it scores by, as a sparse matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from kernels.text import buffers_of
from kernels.text.gram_sums import gram_counts

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Where the values of each signal are cut: ``edges`` by signal, ascending, none twice."""

    edges: dict[str, F64]

    @classmethod
    def at_quantiles(cls, signals: Mapping[str, Any], names: Sequence[str], bins: int) -> Bins:
        """Edges between ``bins`` parts of equally many of the given documents, as far as their
        values differ."""
        at = np.linspace(0, 1, bins + 1)[1:-1]
        return cls(
            {
                name: np.unique(np.quantile(np.asarray(signals[name], np.float64), at))
                for name in names
            }
        )

    def steps(self, signals: Mapping[str, Any]) -> sparse.csr_matrix:
        """float64[n, all edges]: 1 where a value reaches an edge. A weight on a step is how far two
        neighbouring bins differ, so that a penalty on it keeps neighbours close."""
        blocks = [
            (np.asarray(signals[name], np.float64)[:, None] >= edges).astype(np.float64)
            for name, edges in self.edges.items()
        ]
        return sparse.csr_matrix(np.hstack(blocks))


def gram_rows(texts: Sequence[str], bits: int, *, words: bool) -> sparse.csr_matrix:
    """float64[n, 2^bits]: roots of the counts of each document's buckets, brought to length 1."""
    data, offsets = buffers_of(pa.array(texts, pa.large_string()))
    found = gram_counts(data, offsets, bits, words=words)
    rows = sparse.csr_matrix(
        (np.sqrt(found.counts, dtype=np.float64), found.buckets, found.places),
        shape=(len(texts), 1 << bits),
    )
    rows.sort_indices()
    lengths = np.sqrt(np.add.reduceat(np.append(found.counts, 0), found.places[:-1]))
    lengths[np.diff(found.places) == 0] = 1
    return (sparse.diags(1 / lengths) @ rows).tocsr()
