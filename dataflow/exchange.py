"""The exchange: kept text on its way from partitions to shards.

A partition's kept documents are written once, in segments of bounded size, each segment sorted by
shard; so a shard's task reads only its own batches out of each partition's file. The files are
temporary. At scale this is the third time that a text is written (after extraction, before the
shard): gathering straight from the documents tables would read every partition once per shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dataflow.journal import Record
from dataflow.lists import empty_lists
from dataflow.shards.sets import SETS
from dataflow.store import Store
from dataflow.tables import ID
from dataflow.tasks import StepContext

SEGMENT_BYTES = 128 << 20
"""Text and images that are sorted by shard together."""

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

LOSS = pa.list_(pa.field("element", pa.int64(), nullable=False))
"""Flat loss spans in bytes of ``text``: in the files of partitions that have any."""

PICTURES = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [
                pa.field("digest", pa.binary(32)),
                pa.field("format", pa.string()),
                pa.field("width", pa.int32()),
                pa.field("height", pa.int32()),
                pa.field("data", pa.large_binary()),
            ]
        ),
        nullable=False,
    )
)
"""The images of a document with their bytes: in the files of partitions that have any."""

EXTRA = {"loss": LOSS, "images": PICTURES}
"""Columns that only some files have; elsewhere their lists are empty."""


class ExchangeWriter:
    """Writes one partition's exchange file and the list of its batches.

    ``extra`` names the columns of ``EXTRA`` that the partition has.
    """

    def __init__(self, context: StepContext, extra: Sequence[str] = ()) -> None:
        self._context = context
        self._schema = pa.schema([*SCHEMA, *(pa.field(name, EXTRA[name]) for name in extra)])
        self._path = context.path("work/exchange", "arrow")
        self._create = context.create("exchange", self._path, kind="work", temporary=True)
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._batches: list[tuple[int, int, int]] = []

    def __enter__(self) -> ExchangeWriter:
        self._sink = self._create.__enter__()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_file(self._sink, self._schema, options=options)
        return self

    def add(self, table: pa.Table, code: np.ndarray, shard: np.ndarray) -> None:
        """Add kept documents with the codes of their sets (``SETS``) and their shards' numbers."""
        if table.num_rows == 0:
            return
        table = table.cast(self._schema).append_column("code", pa.array(code, pa.uint8()))
        table = table.append_column("shard", pa.array(shard, pa.int64()))
        self._pending.append(table)
        self._pending_bytes += table["text"].nbytes
        if "images" in table.column_names:
            self._pending_bytes += table["images"].nbytes
        if self._pending_bytes >= SEGMENT_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending, self._pending_bytes = [], 0
        if "images" in self._schema.names:
            # Rows of lists are taken out of one array; of several, each time all are joined first.
            table = table.combine_chunks()
        code, shard = table["code"].to_numpy(), table["shard"].to_numpy()
        order = np.lexsort([shard, code])
        edges = np.flatnonzero(
            (np.diff(code[order].astype(np.int64)) != 0) | (np.diff(shard[order]) != 0)
        )
        for rows in np.split(order, edges + 1):
            part = table.take(pa.array(rows)).select(self._schema.names).combine_chunks()
            (batch,) = part.to_batches()
            self._writer.write_batch(batch)
            spanned = len(batch["loss"].flatten()) if "loss" in self._schema.names else 0
            self._batches.append((int(code[rows[0]]), int(shard[rows[0]]), spanned))

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
            self._writer.close()
        self._create.__exit__(kind, error, trace)  # type: ignore[arg-type]
        if kind is None:
            path = self._context.path("work/exchange", "json")
            with self._context.create("batches", path, kind="work", temporary=True) as sink:
                sink.write(json.dumps(self._batches).encode())


class ShardSource:
    """The documents of one shard in each partition's exchange file.

    ``extra`` names the columns of ``EXTRA`` that the tables have beside those of ``SCHEMA``:
    ``images`` in a set of documents with images; ``loss`` there, and where any document has spans.
    """

    def __init__(self, store: Store, records: Sequence[Record], code: int, shard: int) -> None:
        self._store = store
        self._mine: list[tuple[str, list[int]]] = []
        spanned = 0
        for record in records:
            batches = json.loads(store.read(record.outputs["batches"].path))
            mine = [i for i, found in enumerate(batches) if found[:2] == [code, shard]]
            spanned += sum(batches[i][2] for i in mine)
            if mine:
                self._mine.append((record.outputs["exchange"].path, mine))
        pictured = SETS[code].pictured
        self.extra = ["loss", "images"] if pictured else ["loss"] if spanned else []

    def tables(self) -> Iterator[pa.Table]:
        """The tables, of one schema, each with one row or more."""
        for path, batches in self._mine:
            with self._store.open(path) as stream:
                reader = pa.ipc.open_file(stream)
                for i in batches:
                    yield self._conform(pa.Table.from_batches([reader.get_batch(i)]))

    def _conform(self, table: pa.Table) -> pa.Table:
        for name in self.extra:
            if name not in table.column_names:
                empty = empty_lists(table.num_rows, EXTRA[name])
                table = table.append_column(pa.field(name, EXTRA[name]), empty)
        return table.select([*SCHEMA.names, *self.extra])
