"""Arrow IPC, file and stream: one document a row."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
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

    def found(batch: pa.RecordBatch, first: int) -> Outcomes:
        return rows_of(opened, batch, first, MEDIA_TYPE)

    yield from read_rows(opened, found, opened.spec.fields.text)


def read_rows(
    opened: Opened, found: Callable[[pa.RecordBatch, int], Outcomes], text: str | None = None
) -> Outcomes:
    """What ``found`` makes of each batch and the number of its first row.

    ``text`` is a column that must be there.
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
    names = reader.schema.names
    if text is not None and text not in names and text.split(".")[0] not in names:
        raise Refusal("missing-field", f"no column {text!r}; columns: {names}")
    first = 0
    try:
        for batch in _batches(reader, is_file):
            batch.validate(full=False)
            yield from found(batch, first)
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
