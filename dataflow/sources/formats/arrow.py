"""Arrow IPC, file and stream: one document a row."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dataflow.sources.formats.batches import ERRORS, rows_of
from dataflow.sources.formats.parquet import one_line
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcomes

MEDIA_TYPE = "application/vnd.apache.arrow.file"
_MAGIC = b"ARROW1"


def read(opened: Opened) -> Outcomes:
    """A record a row; offsets are row numbers. What follows a damaged batch is one ledger row.

    Raises
    ------
    Refusal
        ``corrupt`` for a file without a readable schema, ``missing-field`` without a text column.
    """
    source: Any = opened.raw
    if opened.compression is not None or not opened.raw.seekable():
        source = io.BytesIO(opened.whole())
    elif opened.item.size == 0:
        raise Refusal("empty")
    is_file = opened.head(len(_MAGIC)) == _MAGIC
    source.seek(0)
    try:
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
    except ERRORS as error:
        raise Refusal("corrupt", one_line(error)) from None
    text = opened.spec.fields.text
    if text not in reader.schema.names and text.split(".")[0] not in reader.schema.names:
        raise Refusal("missing-field", f"no column {text!r}; columns: {reader.schema.names}")
    first = 0
    try:
        for batch in _batches(reader, is_file):
            batch.validate(full=False)
            yield from rows_of(opened, batch, first, MEDIA_TYPE)
            first += batch.num_rows
    except ERRORS as error:
        refusal = Refusal("corrupt", f"rows from {first}: {one_line(error)}")
        yield opened.unreadable(first, refusal)


def _batches(reader: Any, is_file: bool) -> Iterator[pa.RecordBatch]:
    if is_file:
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader
