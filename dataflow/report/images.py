"""What the documents' images are: sizes, shapes and formats, and how many a document has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.lists import flat_list
from dataflow.report.inputs import BATCH_ROWS, Partition, ReportInputs
from dataflow.report.scales import FineHistogram

_COLUMNS = [f"images.list.element.{name}" for name in ("width", "height", "bytes", "format")]


@dataclass
class ImageTotals:
    """All images of the documents that were read; group 0 of a histogram is of kept documents."""

    documents: int = 0
    kept_documents: int = 0
    images: int = 0
    kept: int = 0
    bytes: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    sides: FineHistogram = field(default_factory=lambda: FineHistogram("integer"))
    """Of the longer side, in pixels."""
    aspects: FineHistogram = field(default_factory=lambda: FineHistogram("real"))
    """Longer by shorter side."""
    counts: FineHistogram = field(default_factory=lambda: FineHistogram("integer"))
    """Images of a document that has any."""

    def add(self, column: pa.ChunkedArray, kept: np.ndarray) -> None:
        """Count the images of some documents; ``kept`` bool says which of those are."""
        images, offsets = flat_list(column)
        count = np.diff(offsets)
        some = count > 0
        self.documents += int(some.sum())
        self.kept_documents += int((some & kept).sum())
        self.images += len(images)
        self.kept += int(count[kept].sum())
        self.counts.add(count[some].astype(np.float64), (~kept[some]).astype(np.int64))
        if not len(images):
            return
        self.bytes += int(np.asarray(images.field("bytes")).sum())
        self.formats.update(images.field("format").to_pylist())
        sides = [np.asarray(images.field(side), np.float64) for side in ("width", "height")]
        group = np.repeat((~kept).astype(np.int64), count)
        self.sides.add(np.maximum(*sides), group)
        self.aspects.add(np.maximum(*sides) / np.minimum(*sides), group)


def walk_images(inputs: ReportInputs, totals: ImageTotals, partition: Partition) -> None:
    """Count the images of a partition. One that has no signals of images has none."""
    if partition.images is None:
        return
    with inputs.open(partition.dispositions) as stream:
        kept = pq.ParquetFile(stream).read(["kept"], use_threads=False)["kept"].to_numpy()
    base = 0
    for column in _image_columns(inputs, partition.documents):
        totals.add(column, kept[base : base + len(column)])
        base += len(column)


def _image_columns(inputs: ReportInputs, path: str) -> Iterator[pa.ChunkedArray]:
    with inputs.open(path) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(
            batch_size=BATCH_ROWS, columns=_COLUMNS, use_threads=False
        ):
            yield pa.chunked_array([batch.column("images")])
