"""The exchange: kept text on its way from partitions to shards.

A partition's kept documents are written once, in segments of bounded size, each segment sorted by
shard; so a shard's task reads only its own batches out of each partition's file. The files are
temporary. At scale this is the third time that a text is written (after extraction, before the
shard): gathering straight from the documents tables would read every partition once per shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dataflow.journal import Record
from dataflow.store import Store
from dataflow.tables import ID
from dataflow.tasks import StepContext

SEGMENT_BYTES = 128 << 20

SCHEMA = pa.schema(
    {
        "doc_id": ID,
        "content_id": ID,
        "source": pa.string(),
        "uri": pa.string(),
        "language": pa.string(),
        "license": pa.string(),
        "cluster": ID,
        "text": pa.large_binary(),
    }
)
"""``text`` as it goes into the shard: UTF-8, after cleaning."""


class ExchangeWriter:
    """Writes one partition's exchange file and the list of its batches."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._path = context.path("work/exchange", "arrow")
        self._create = context.create("exchange", self._path, kind="work", temporary=True)
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._batches: list[tuple[int, int]] = []

    def __enter__(self) -> ExchangeWriter:
        self._sink = self._create.__enter__()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_file(self._sink, SCHEMA, options=options)
        return self

    def add(self, table: pa.Table, split: np.ndarray, shard: np.ndarray) -> None:
        """Add kept documents (columns of ``SCHEMA``) with their split codes and shard numbers."""
        if table.num_rows == 0:
            return
        table = table.cast(SCHEMA).append_column("split", pa.array(split, pa.uint8()))
        table = table.append_column("shard", pa.array(shard, pa.int64()))
        self._pending.append(table)
        self._pending_bytes += table["text"].nbytes
        if self._pending_bytes >= SEGMENT_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending, self._pending_bytes = [], 0
        split, shard = table["split"].to_numpy(), table["shard"].to_numpy()
        order = np.lexsort([shard, split])
        edges = np.flatnonzero(
            (np.diff(split[order].astype(np.int64)) != 0) | (np.diff(shard[order]) != 0)
        )
        for rows in np.split(order, edges + 1):
            part = table.take(pa.array(rows)).select(SCHEMA.names).combine_chunks()
            (batch,) = part.to_batches()
            self._writer.write_batch(batch)
            self._batches.append((int(split[rows[0]]), int(shard[rows[0]])))

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
            self._writer.close()
        self._create.__exit__(kind, error, trace)  # type: ignore[arg-type]
        if kind is None:
            path = self._context.path("work/exchange", "json")
            with self._context.create("batches", path, kind="work", temporary=True) as sink:
                sink.write(json.dumps(self._batches).encode())


def read_shard(store: Store, records: list[Record], split: int, shard: int) -> Iterator[pa.Table]:
    """The documents of one shard out of each partition's exchange file."""
    for record in records:
        batches = json.loads(store.read(record.outputs["batches"].path))
        mine = [i for i, found in enumerate(batches) if found == [split, shard]]
        if not mine:
            continue
        with store.open(record.outputs["exchange"].path) as stream:
            reader = pa.ipc.open_file(stream)
            for i in mine:
                yield pa.Table.from_batches([reader.get_batch(i)])
