"""What shards hold, as canonical rows: a part of the logical root, and ``verify``'s evidence.

Rows come in tables of bounded length: as Python objects a shard's rows would take more memory than
its text. A root is a sum, so it does not know how rows are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import blake3
import numpy as np
import pyarrow as pa
import xxhash

from dataflow.roots import add_roots, rows_root
from dataflow.shards import ContentSample, ShardError, read_content_shard, read_token_shard
from dataflow.shards.content import PLACES as CONTENT_PLACES
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

LISTED = pa.schema(
    [
        *CONTENT,
        pa.field("placed", CONTENT_PLACES.field("images").type),
        pa.field("images", pa.list_(pa.binary(32))),
        pa.field("loss", pa.list_(pa.int64())),
    ]
)
"""Of shards with images or loss spans: ``images`` are the BLAKE3 of theirs, ``placed`` says where
they lie and enters no root."""

LATER = ["images", "loss"]
"""Columns that count where a document has any."""

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
    """The root over all rows of some tables, of ``CONTENT``, ``LISTED`` or ``TOKENS``."""
    return add_roots(table_root(table) for table in tables)


def table_root(table: pa.Table) -> int:
    """The root of rows of ``CONTENT``, ``LISTED`` or ``TOKENS``."""
    if "placed" in table.column_names:
        return rows_root(table.drop_columns(["placed"]), LATER)
    return rows_root(table)


def content_rows(source: Any, name: str) -> Iterator[pa.Table]:
    """The documents of a content shard, in order: tables of ``CONTENT`` or all of ``LISTED``, none
    of them empty.

    Raises
    ------
    ShardError
        If the shard is damaged.
    """
    rows = None
    listed = False
    for sample in read_content_shard(source, name):
        if rows is None:
            listed = "images" in sample.documents
            rows = _Rows(LISTED if listed else CONTENT, name)
        if listed != ("images" in sample.documents):
            raise ShardError(
                f"{name}: {sample.key}.json: found samples with and without images, expected all "
                "of a shard to have the same columns"
            )
        for i in range(len(sample)):
            text = sample.text(i)
            rows.columns["member"].append(sample.key)
            rows.columns["doc_id"].append(sample.doc_id(i))
            rows.columns["text_bytes"].append(len(text))
            rows.columns["text"].append(xxhash.xxh3_128_digest(text))
            if listed:
                placed, digests = _images(sample, i, name)
                rows.columns["placed"].append(placed)
                rows.columns["images"].append(digests)
                rows.columns["loss"].append(sample.loss(i))
        if len(rows.columns["text"]) >= BATCH_ROWS:
            yield rows.table()
    if rows is not None and rows.columns["text"]:
        yield rows.table()


def _images(sample: ContentSample, i: int, name: str) -> tuple[list[dict[str, int]], list[bytes]]:
    """Where the images of a sample's document lie, and their digests."""
    placed: list[dict[str, int]] = []
    digests: list[bytes] = []
    for image, member in zip(sample.documents["images"][i], sample.images(i), strict=True):
        digest = blake3.blake3(member.data).digest()
        if digest.hex() != image["digest"]:
            raise ShardError(
                f"{name}: {member.name}: found an image with BLAKE3 {digest.hex()[:16]}…, "
                f"expected {image['digest'][:16]}…"
            )
        size = {"width": image["width"], "height": image["height"]}
        placed.append({**size, "bytes": len(member.data), "offset": member.offset})
        digests.append(digest)
    return placed, digests


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
