"""Parquet: one document a row, cut by row groups; a damaged row group does not harm the others."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.sources.formats.batches import ERRORS, rows_of
from dataflow.sources.formats.rows import columns as columns_of
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Item, Outcomes

MEDIA_TYPE = "application/vnd.apache.parquet"
_BATCH_ROWS = 256


def read(opened: Opened) -> Outcomes:
    """A record a row; offsets are row numbers in the file.

    Rows of a row group that cannot be decoded become one row of the ledger, at the first of them.

    Raises
    ------
    Refusal
        ``corrupt`` for a file without a readable footer, ``missing-field`` without a text column.
    """

    def found(batch: pa.RecordBatch, first: int) -> Outcomes:
        return rows_of(opened, batch, first, MEDIA_TYPE)

    yield from read_rows(opened, _wanted, found, _BATCH_ROWS)


def read_rows(
    opened: Opened,
    wanted: Callable[[pa.Schema, Opened], list[str] | None] | None,
    found: Callable[[pa.RecordBatch, int], Outcomes],
    batch_rows: int,
) -> Outcomes:
    """What ``found`` makes of each batch and the number of its first row.

    ``wanted`` names the columns that are read, of a schema (None: all).
    """
    file = _open(opened)
    columns = wanted(file.schema_arrow, opened) if wanted is not None else None
    metadata = file.metadata
    item = opened.item
    last = metadata.num_row_groups if item.end < 0 else min(item.end, metadata.num_row_groups)
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    for group in range(item.start, last):
        first = sum(counts[:group])
        done = 0
        try:
            for batch in file.iter_batches(batch_rows, row_groups=[group], columns=columns):
                yield from found(batch, first + done)
                done += batch.num_rows
        except ERRORS as error:
            detail = f"row group {group}, rows {first + done} to {first + counts[group] - 1}"
            refusal = Refusal("corrupt", f"{detail}: {one_line(error)}")
            yield opened.unreadable(first + done, refusal)


def one_line(error: BaseException) -> str:
    """The first line of an error's message, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _open(opened: Opened) -> Any:
    source: Any = opened.raw
    if opened.compression is not None or not opened.raw.seekable():
        source = io.BytesIO(opened.whole())
    elif opened.item.size == 0:
        raise Refusal("empty")
    try:
        return pq.ParquetFile(source, page_checksum_verification=True)
    except ERRORS as error:
        raise Refusal("corrupt", one_line(error)) from None


def _wanted(schema: pa.Schema, opened: Opened) -> list[str] | None:
    fields = opened.spec.fields
    names = columns_of(fields)
    if fields.text not in schema.names and fields.text.split(".")[0] not in schema.names:
        raise Refusal("missing-field", f"no column {fields.text!r}; columns: {schema.names}")
    return None if names is None else [n for n in names if n in schema.names]


def cut(opened: Opened, partition_bytes: int) -> list[Item]:
    """Runs of row groups of about ``partition_bytes`` stored bytes."""
    item = opened.item
    if item.size <= partition_bytes or opened.compression is not None:
        return [item]
    try:
        metadata = _open(opened).metadata
    except Refusal:
        return [item]  # ``read`` meets the same damage, and reports it
    return list(_runs(item, metadata, partition_bytes))


def _runs(item: Item, metadata: Any, partition_bytes: int) -> Iterator[Item]:
    start = held = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        size = sum(row_group.column(c).total_compressed_size for c in range(row_group.num_columns))
        if held and held + size > partition_bytes:
            yield replace(item, start=start, end=group, share=held)
            start, held = group, 0
        held += size
    yield replace(item, start=start, end=max(metadata.num_row_groups, 1), share=held)
