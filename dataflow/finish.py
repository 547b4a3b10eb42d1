"""The end of a build: the manifest, the roots, and the file that opens the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import blake3
import orjson

from dataflow.journal import Output, Record
from dataflow.roots import add_roots, hex_root
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
    categories: Record | None = None,
    grade: Record | None = None,
) -> dict[str, Any]:
    """Write ``manifest.parquet`` and ``journal/run.json``; return what the latter holds."""
    optional = {"repetition": repetition, "categories": categories, "grade": grade}
    others = {name: record for name, record in optional.items() if record is not None}
    records = [r for p in partitions for r in p.records]
    records += [r for s in shards for r in s.records]
    records += [tokenizer, lookup, *energon, *others.values()]
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
                **({"image_reward": p.image_reward.key} if p.image_reward else {}),
                **({"reward": p.reward.key} if p.reward else {}),
            }
            for p in partitions
        ],
        "shards": [
            {
                "name": s.name,
                "pack": s.pack.key,
                "tokenize": s.tokenize.key,
                **({"tier": s.tier.key} if s.tier else {}),
            }
            for s in shards
        ],
        "tokenizer": tokenizer.key,
        "lookup": lookup.key,
        "energon": [record.key for record in energon],
        **{name: record.key for name, record in others.items()},
        **({"tiers_root": tiers_root(shards)} if grade else {}),
    }
    store.write(RUN_FILE, orjson.dumps(header))
    return header


def tiers_root(shards: Sequence[ShardRecords]) -> str:
    """The root of which document is of which tier: the logical root does not cover it, as shards
    stay what they are under other tiers."""
    parts = [int(s.tier.stats["root"], 16) for s in shards if s.tier is not None]
    return hex_root(add_roots(parts))


def _roots(records: Sequence[Record]) -> dict[str, int]:
    """The tables' roots: sums of the parts in the records' stats."""
    parts: dict[str, list[int]] = defaultdict(list)
    for record in records:
        for stat, table in _ROOT_STATS.get(record.step, {}).items():
            parts[table].append(int(record.stats[stat], 16))
    return {table: add_roots(values) for table, values in parts.items()}
