"""Arrow record batches to records, row by row where a batch holds invalid strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa
import xxhash

from dataflow.sources.formats.rows import plain, record_of
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcome, Outcomes

ERRORS = (pa.ArrowException, OSError, EOFError, UnicodeDecodeError)


def rows_of(opened: Opened, batch: pa.RecordBatch, first: int, kind: str) -> Outcomes:
    """An outcome for each row of ``batch``, whose first row has number ``first``."""
    try:
        rows: Iterator[Mapping[str, Any] | None] = iter(batch.to_pylist())
    except UnicodeDecodeError:
        rows = (_row(batch, i) for i in range(batch.num_rows))
    for offset, row in enumerate(rows, first):
        yield _outcome(opened, row, offset, kind)


def _row(batch: pa.RecordBatch, index: int) -> Mapping[str, Any] | None:
    try:
        row: Mapping[str, Any] = batch.slice(index, 1).to_pylist()[0]
    except UnicodeDecodeError:
        return None
    return row


def _outcome(opened: Opened, row: Mapping[str, Any] | None, offset: int, kind: str) -> Outcome:
    try:
        if row is None:
            raise Refusal("encoding", "a string of the row is not valid UTF-8")
        raw = orjson.dumps(plain(row), option=orjson.OPT_SORT_KEYS)
        digest = xxhash.xxh3_128_digest(raw)
        return record_of(row, opened.spec, opened.item.uri, offset, digest, kind)
    except Refusal as refusal:
        return opened.unreadable(offset, refusal)
