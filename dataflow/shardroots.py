"""What shards hold, as canonical rows: a part of the logical root, and ``verify``'s evidence.

Rows come in tables of bounded length: as Python objects a shard's rows would take more memory than
its text. A root is a sum, so it does not know how rows are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from dataflow.roots import add_roots, rows_root
from dataflow.shards import read_content_shard, read_token_shard
from dataflow.tables import ID

CONTENT = pa.schema(
    {
        "shard": pa.string(),
        "position": pa.int64(),
        "member": pa.string(),
        "doc_id": ID,
        "text_bytes": pa.int64(),
        "text": ID,
    }
)
"""``position`` counts documents in the shard; ``text`` is the XXH3-128 of the bytes it holds."""

TOKENS = pa.schema(
    {
        "shard": pa.string(),
        "position": pa.int64(),
        "tokens": pa.int64(),
        "ids": ID,
        "loss": pa.int64(),
    }
)
"""``ids`` is the XXH3-128 of the token ids as little-endian uint32; ``loss`` counts those that
train."""


BATCH_ROWS = 4096
"""Rows of a table, at least, unless it is the last one: it ends with a sample."""


def shard_root(tables: Iterable[pa.Table]) -> int:
    """The root over all rows of some tables."""
    return add_roots(rows_root(table) for table in tables)


def content_rows(source: Any, name: str) -> Iterator[pa.Table]:
    """The documents of a content shard, in order: tables of ``CONTENT``, none of them empty.

    Raises
    ------
    ShardError
        If the shard is damaged.
    """
    rows = _Rows(CONTENT, name)
    for sample in read_content_shard(source, name):
        for i in range(len(sample)):
            text = sample.text(i)
            rows.columns["member"].append(sample.key)
            rows.columns["doc_id"].append(sample.doc_id(i))
            rows.columns["text_bytes"].append(len(text))
            rows.columns["text"].append(xxhash.xxh3_128_digest(text))
        if len(rows.columns["text"]) >= BATCH_ROWS:
            yield rows.table()
    if rows.columns["text"]:
        yield rows.table()


def token_rows(source: Any, name: str) -> Iterator[pa.Table]:
    """The documents of a token shard, in order: tables of ``TOKENS``, none of them empty.

    Raises
    ------
    ShardError
        If the shard is damaged.
    """
    rows = _Rows(TOKENS, name)
    for sample in read_token_shard(source, name):
        # A document without a span carries loss on every token.
        loss = np.diff(sample.offsets)
        spanned = np.unique(sample.spans[:, 0])
        loss[spanned] = 0
        np.add.at(loss, sample.spans[:, 0], sample.spans[:, 2] - sample.spans[:, 1])
        for i in range(len(sample)):
            ids = sample.document(i)
            rows.columns["tokens"].append(len(ids))
            rows.columns["ids"].append(xxhash.xxh3_128_digest(ids.astype("<u4").tobytes()))
            rows.columns["loss"].append(int(loss[i]))
        if len(rows.columns["ids"]) >= BATCH_ROWS:
            yield rows.table()
    if rows.columns["ids"]:
        yield rows.table()


class _Rows:
    """Collects columns; knows the shard and how many rows went before."""

    def __init__(self, schema: pa.Schema, shard: str) -> None:
        self._schema = schema
        self._shard = shard
        self._position = 0
        self._clear()

    def _clear(self) -> None:
        own = ("shard", "position")
        self.columns: dict[str, list[Any]] = {
            name: [] for name in self._schema.names if name not in own
        }

    def table(self) -> pa.Table:
        """What was collected since the last call."""
        first = self._position
        self._position += len(next(iter(self.columns.values())))
        columns = {
            "shard": [self._shard] * (self._position - first),
            "position": range(first, self._position),
            **self.columns,
        }
        self._clear()
        return pa.table(
            {field.name: pa.array(columns[field.name], field.type) for field in self._schema},
            schema=self._schema,
        )
