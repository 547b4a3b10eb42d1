"""Capability tags of the run's instruction pairs (``python -m vl_data tag``), counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3

from dataflow.report.inputs import Partition, ReportError, ReportInputs
from vl_data.labels.distribution import Tail, long_tail, tag_distribution
from vl_data.labels.errors import LabelError
from vl_data.labels.pairs import pair_digests
from vl_data.labels.tables import TAGS, about_labels, read_labels

_COLUMNS = ["text", "loss.list.element", "images.list.element.digest"]
_ROWS = 512


@dataclass(frozen=True)
class TagTotals:
    """Pairs of kept documents, and how the tags of those that have one are spread.

    ``about`` is who tagged; ``digest`` the BLAKE3 of the table. ``distribution`` has the columns
    of ``vl_data.labels.distribution.tag_distribution``; a pair that stands in several documents
    counts in each.
    """

    pairs: int
    distribution: pa.Table
    tail: Tail
    about: dict[str, Any]
    digest: str


def count_tags(inputs: ReportInputs) -> TagTotals | None:
    """Find the tags of the run's pairs; None where no table is given. Memory: the table.

    Raises
    ------
    ReportError
        If the table holds no tags, or none of a pair of this run.
    """
    if inputs.tags is None:
        return None
    labels = _read(inputs.tags)
    rows = {digest: row for row, digest in enumerate(labels["digest"].to_pylist())}
    pairs, taken = 0, []
    for partition in inputs.partitions:
        for named in _pairs(inputs, partition):
            pairs += 1
            taken += [next((rows[name] for name in named if name in rows), -1)]
    found = np.array(taken, np.int64)
    found = found[found >= 0]
    if not len(found):
        raise ReportError(
            f"{inputs.tags}: found {labels.num_rows:,} tags, none for any of the {pairs:,} "
            "instruction pairs of this run, expected tags of its pairs; `python -m vl_data tag` "
            "names a pair by its texts and images"
        )
    tagged = labels.take(pa.array(found))
    return TagTotals(
        pairs,
        tag_distribution(tagged),
        long_tail(tagged),
        about_labels(labels),
        blake3(inputs.tags.read_bytes()).hexdigest(),
    )


def _read(path: Path) -> pa.Table:
    try:
        return read_labels(path, TAGS)
    except OSError as error:
        found: object = error.strerror or error
    except pa.ArrowInvalid as error:
        found = f"no Parquet file ({error})"
    except LabelError as error:
        raise ReportError(str(error)) from None
    raise ReportError(f"{path}: found {found}, expected what `python -m vl_data tag` wrote")


def _pairs(inputs: ReportInputs, partition: Partition) -> Iterator[tuple[bytes, ...]]:
    """The names of each pair of the partition's kept conversations."""
    with inputs.open(partition.dispositions) as stream:
        kept = pq.ParquetFile(stream).read(["kept"], use_threads=False)["kept"].to_numpy()
    base = 0
    with inputs.open(partition.documents) as stream:
        file = pq.ParquetFile(stream)
        if "loss" not in file.schema_arrow.names:
            return
        for batch in file.iter_batches(_ROWS, columns=_COLUMNS, use_threads=False):
            mine = kept[base : base + batch.num_rows]
            base += batch.num_rows
            chats = mine & (np.asarray(pc.list_value_length(batch["loss"])) > 0)
            for row in batch.filter(pa.array(chats)).to_pylist():
                yield from pair_digests(row["text"], [i["digest"] for i in row["images"]])
