"""Shards: WebDataset tars in two sets with the same keys, one of text and one of token ids."""

from dataflow.shards.assign import order_key, shard_of, shard_order
from dataflow.shards.content import (
    SAMPLE_BYTES,
    ContentSample,
    read_content_shard,
    shard_name,
    text_at,
    write_content_shard,
)
from dataflow.shards.energon import energon_files, find_samples
from dataflow.shards.errors import ShardError
from dataflow.shards.index import index_table
from dataflow.shards.tokens import TokenSample, read_token_shard, tokens_at, write_token_shard

__all__ = [
    "SAMPLE_BYTES",
    "ContentSample",
    "ShardError",
    "TokenSample",
    "energon_files",
    "find_samples",
    "index_table",
    "order_key",
    "read_content_shard",
    "read_token_shard",
    "shard_name",
    "shard_of",
    "shard_order",
    "text_at",
    "tokens_at",
    "write_content_shard",
    "write_token_shard",
]
