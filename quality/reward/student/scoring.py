"""The linear student at work: the same scores, to the bit, on every machine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kernels.text import buffers_of, scan
from kernels.text.gram_sums import gram_sums
from quality.reward.labels import CATEGORIES, HIGHEST, SCORES
from quality.reward.student.model import (
    GRID_BITS,
    POINT_BITS,
    SCALE_BITS,
    StudentModel,
    read_model,
)
from quality.signals import schema

SHIPPED = Path(__file__).with_name("student-1.zip")
SCHEMA = schema("reward")


class Student:
    """A linear student. ``version``: of its file, 32 hex digits; ``about``: where it comes from."""

    def __init__(self, model: StudentModel, version: str) -> None:
        self.model = model
        self.version = version

    def score(
        self, texts: pa.Array | pa.ChunkedArray, scan: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """Score n texts.

        Parameters
        ----------
        texts : n strings, none null
        scan : their signals by name, each an array [n], as ``kernels.text.scan`` measures them;
            measured here if None

        Returns
        -------
        A table of ``SCHEMA``: scores float32 in [0, 5], multiples of 1/64, and the category.
        An empty text is scored as any other: it has nothing, and earns little.
        """
        return self.table(self.points(texts, scan))

    def table(self, points: NDArray[np.int64]) -> pa.Table:
        """Scores and categories of what ``points`` gives."""
        columns: list[pa.Array] = []
        for j in range(len(SCORES)):
            # To the nearest 1/64, halves up; a shift of a negative number rounds down as well.
            grid = (points[:, j] + (1 << (POINT_BITS - GRID_BITS - 1))) >> (POINT_BITS - GRID_BITS)
            grid = np.clip(grid, 0, HIGHEST << GRID_BITS)
            columns.append(pa.array((grid / (1 << GRID_BITS)).astype(np.float32)))
        best = points[:, len(SCORES) :].argmax(axis=1)
        columns.append(
            pa.DictionaryArray.from_arrays(pa.array(best, pa.int8()), pa.array(CATEGORIES)).cast(
                pa.string()
            )
        )
        return pa.table(columns, schema=SCHEMA)

    def points(
        self, texts: pa.Array | pa.ChunkedArray, scan: Mapping[str, Any] | None = None
    ) -> NDArray[np.int64]:
        """Sums of each output, int64[n, outputs], in units of 2^-16 point; not clipped."""
        data, offsets = _buffers(texts)
        signals = _scanned(data, offsets) if scan is None else scan
        model = self.model
        total = np.repeat(model.intercepts[None], len(offsets) - 1, axis=0)
        words, grams = gram_sums(data, offsets, model.word_weights, model.gram_weights)
        total += (words * model.word_scales) >> SCALE_BITS
        total[:, : len(SCORES)] += (grams * model.gram_scales) >> SCALE_BITS
        for s, name in enumerate(model.signals):
            begin, end = model.edge_places[s], model.edge_places[s + 1]
            values = np.asarray(signals[name], np.float64)
            bins = np.searchsorted(model.edges[begin:end], values, side="right")
            total += model.bins[begin + s + bins]
        return total


def load_student(path: Path | None = None) -> Student:
    """A student from its file; None: the one that is shipped.

    Raises
    ------
    StudentError
        If the file is no student of this version.
    """
    return _shipped() if path is None else Student(*read_model(path))


@functools.cache
def _shipped() -> Student:
    return Student(*read_model(SHIPPED))


def _buffers(
    texts: pa.Array | pa.ChunkedArray,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return buffers_of(whole)


def _scanned(
    data: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> Mapping[str, NDArray[np.generic]]:
    return scan(data, offsets, None).signals
