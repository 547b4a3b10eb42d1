"""The end of a build: the manifest, the roots, and the file that opens the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import blake3
import orjson

from dataflow.journal import Output, Record
from dataflow.roots import add_roots
from dataflow.run import FORMAT, RUN_FILE, PartitionRecords, ShardRecords
from dataflow.store import Store
from dataflow.summary import file_root, logical_root, manifest_rows, write_manifest

_ROOT_STATS = {
    "read": {"documents_root": "documents", "unreadable_root": "unreadable"},
    "settle": {"dispositions_root": "dispositions", "spans_root": "spans"},
    "pack": {"root": "content"},
    "tokenize": {"root": "tokens"},
}
"""Which stat of a step's record is a part of which table's root."""


def publish(
    store: Store,
    name: str,
    partitions: Sequence[PartitionRecords],
    shards: Sequence[ShardRecords],
    tokenizer: Record,
    lookup: Record,
    *energon: Record,
    repetition: Record | None = None,
) -> dict[str, Any]:
    """Write ``manifest.parquet`` and ``journal/run.json``; return what the latter holds."""
    records = [r for p in partitions for r in p.records]
    records += [r for s in shards for r in (s.pack, s.tokenize)]
    records += [tokenizer, lookup, *energon, *([repetition] if repetition else [])]
    lock = store.read("recipe.lock.yaml")
    digest = str(blake3.blake3(lock).hexdigest())
    rows = manifest_rows(records, [Output("recipe.lock.yaml", "recipe", len(lock), digest)])
    write_manifest(store, rows)
    header = {
        "format": FORMAT,
        "name": name,
        "logical_root": logical_root(_roots(records)),
        "file_root": file_root(rows),
        "partitions": [
            {
                "name": p.name,
                "source": p.source,
                "read": p.read.key,
                "scan": p.scan.key,
                "language": p.language.key,
                "settle": p.settle.key,
                **({"images": p.images.key} if p.images else {}),
            }
            for p in partitions
        ],
        "shards": [
            {"name": s.name, "pack": s.pack.key, "tokenize": s.tokenize.key} for s in shards
        ],
        "tokenizer": tokenizer.key,
        "lookup": lookup.key,
        "energon": [record.key for record in energon],
        **({"repetition": repetition.key} if repetition else {}),
    }
    store.write(RUN_FILE, orjson.dumps(header))
    return header


def _roots(records: Sequence[Record]) -> dict[str, int]:
    """The tables' roots: sums of the parts in the records' stats."""
    parts: dict[str, list[int]] = defaultdict(list)
    for record in records:
        for stat, table in _ROOT_STATS.get(record.step, {}).items():
            parts[table].append(int(record.stats[stat], 16))
    return {table: add_roots(values) for table, values in parts.items()}
