"""How the run's Parquet files are written and read: one set of encodings, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.store import Store

ZSTD_LEVEL = 3
"""Higher levels save a few percent of bytes and cost a multiple of the time."""


def open_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer for ``schema`` into an open file.

    Short strings are dictionary-encoded. Numbers are not: their bytes are split into streams (all
    first bytes, all second bytes, …), which is faster to write and smaller than dictionaries of
    values that hardly repeat. Columns of ``large_binary`` hold what is compressed already.
    """
    strings = [field.name for field in schema if pa.types.is_string(field.type)]
    numbers = [
        field.name
        for field in schema
        if pa.types.is_floating(field.type) or pa.types.is_int32(field.type)
    ]
    compressed = {f.name: "none" if pa.types.is_large_binary(f.type) else "zstd" for f in schema}
    # One level for all columns, unless one of them has none.
    same = "none" not in compressed.values()
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd" if same else compressed,
        compression_level=ZSTD_LEVEL if same else None,
        use_dictionary=strings,
        use_byte_stream_split=numbers,
    )


def read_table(store: Store, path: str, columns: list[str] | None = None) -> pa.Table:
    """A file as one table."""
    with store.open(path) as stream:
        return pq.ParquetFile(stream).read(columns=columns, use_threads=False)


def row_groups(store: Store, path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A file row group by row group, so that memory stays bounded."""
    with store.open(path) as stream:
        file = pq.ParquetFile(stream)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns, use_threads=False)
