"""``buckets``: one band's keys, sorted in fixed-size spilled runs; documents that share a key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dataflow.ranks import ROWS
from dataflow.sequences import mix_sequences, read_sequences
from dataflow.tasks import Step, StepContext
from dedup import Buckets, sort_band


def _runs(context: StepContext, band: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(keys, ranks) of the documents of each partition that take part: signed and first copies.

    Keys of documents with images are those of their texts beside their images.
    """
    by_row = ROWS.open(context, context.input("order"))
    base = 0
    for number, record in enumerate(context.inputs("scan")):
        rows = record.stats["rows"]
        with context.store.open(record.outputs["bands"].path) as stream:
            signed = np.frombuffer(stream.read(rows), np.uint8).astype(bool)
            stream.seek(rows + (-rows % 8) + band * rows * 8)
            keys = np.frombuffer(stream.read(rows * 8), "<u8").astype(np.uint64)
        sequences = read_sequences(context, context.params["sequences"][number], rows)
        if sequences is not None:
            keys = mix_sequences(keys, sequences)
        rank = by_row.read("rank", base, base + rows)
        chosen = signed & by_row.read("first", base, base + rows).astype(bool)
        base += rows
        yield keys[chosen], rank[chosen]


def run(context: StepContext) -> dict[str, Any]:
    """Write the members of all buckets of two or more, and the buckets' sizes."""
    band = context.params["band"]
    found = sort_band(
        band, _runs(context, band), context.scratch, memory_bytes=context.local["memory_bytes"]
    )
    context.adopt("members", found.members)
    context.adopt("sizes", found.sizes)
    return {
        "records": found.records,
        "buckets": found.buckets,
        "memberships": found.memberships,
        "largest": found.largest,
    }


def open_buckets(context: StepContext) -> list[Buckets]:
    """The buckets of every band, out of a task's ``buckets`` inputs."""
    return [
        Buckets(
            band,
            context.local_path(record, "members"),
            context.local_path(record, "sizes"),
            **record.stats,
        )
        for band, record in enumerate(context.inputs("buckets"))
    ]


STEP = Step("buckets", run)
