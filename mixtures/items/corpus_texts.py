"""The texts of a run's documents, read out of its content shards, one sample at a time."""

from __future__ import annotations

from collections.abc import Iterator

from dataflow.run import Run, ShardRecords
from dataflow.shards import ContentSample, read_content_shard
from mixtures.documents import HELD_OUT


def shards_of(run: Run, *, held_out: bool) -> list[ShardRecords]:
    """The shards of what is held out, or of all else: a shard is of one split."""
    return [shard for shard in run.shards if shard.name.startswith(f"{HELD_OUT}-") == held_out]


def samples(run: Run, shard: ShardRecords) -> Iterator[ContentSample]:
    """The samples of a shard, in order.

    Raises
    ------
    ShardError
        If it is damaged.
    """
    path = shard.pack.outputs["shard"].path
    with run.store.stream(path) as stream:
        yield from read_content_shard(stream, f"{run.store.uri}/{path}")
