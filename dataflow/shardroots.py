"""What shards hold, as canonical rows: a part of the logical root, and ``verify``'s evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

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


def content_rows(source: Any, name: str) -> pa.Table:
    """The documents of a content shard, in order: a table of ``CONTENT``.

    Raises
    ------
    ShardError
        If the shard is damaged.
    """
    columns: dict[str, list[Any]] = {field: [] for field in CONTENT.names}
    for sample in read_content_shard(source, name):
        for i in range(len(sample)):
            text = sample.text(i)
            columns["position"].append(len(columns["position"]))
            columns["member"].append(sample.key)
            columns["doc_id"].append(sample.doc_id(i))
            columns["text_bytes"].append(len(text))
            columns["text"].append(xxhash.xxh3_128_digest(text))
    columns["shard"] = [name] * len(columns["position"])
    return pa.table(columns, schema=CONTENT)


def token_rows(source: Any, name: str) -> pa.Table:
    """The documents of a token shard, in order: a table of ``TOKENS``.

    Raises
    ------
    ShardError
        If the shard is damaged.
    """
    columns: dict[str, list[Any]] = {field: [] for field in TOKENS.names}
    for sample in read_token_shard(source, name):
        # A document without a span carries loss on every token.
        loss = np.diff(sample.offsets)
        spanned = np.unique(sample.spans[:, 0])
        loss[spanned] = 0
        np.add.at(loss, sample.spans[:, 0], sample.spans[:, 2] - sample.spans[:, 1])
        for i in range(len(sample)):
            ids = sample.document(i)
            columns["position"].append(len(columns["position"]))
            columns["tokens"].append(len(ids))
            columns["ids"].append(xxhash.xxh3_128_digest(ids.astype("<u4").tobytes()))
            columns["loss"].append(int(loss[i]))
    columns["shard"] = [name] * len(columns["position"])
    return pa.table(columns, schema=TOKENS)
