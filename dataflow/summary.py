"""What a finished build says of itself: the manifest, the roots, the summary for the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import blake3
import pyarrow as pa

from dataflow.journal import Output, Record
from dataflow.parquet import open_writer
from dataflow.roots import combine, hex_root
from dataflow.store import Store
from dataflow.tables import MANIFEST, conform

LOGICAL_TABLES = ("documents", "unreadable", "dispositions", "spans", "content", "tokens")
"""What the logical root covers: rows of four tables, and what the shards hold."""

_KEY = re.compile(r"-[0-9a-f]{16}(?=\.[a-z.]+$)")


def logical_name(path: str) -> str:
    """A path without its step key: the same for the same logical content of any build."""
    return _KEY.sub("", path)


def logical_root(roots: Mapping[str, int]) -> str:
    """The logical root over the roots of ``LOGICAL_TABLES`` (absent ones count as empty)."""
    return combine({name: hex_root(roots.get(name, 0)) for name in LOGICAL_TABLES})


def file_root(rows: Iterable[Mapping[str, Any]]) -> str:
    """BLAKE3 over the names and hashes of the manifest's files, in the order of their names."""
    digest = blake3.blake3()
    for name, value in sorted((row["name"], row["blake3"]) for row in rows):
        digest.update(f"{name}\0{value}\n".encode())
    return str(digest.hexdigest())


def manifest_rows(records: Iterable[Record], extra: Iterable[Output] = ()) -> list[dict[str, Any]]:
    """One row per durable output of ``records``, and per file of ``extra``, sorted by path."""
    rows = []
    for record in records:
        for output in record.outputs.values():
            if not output.temporary:
                # An index without the run's tiers has the kind of what lies aside.
                tokens = record.stats.get("tokens") if output.kind == "index" else None
                rows.append(_row(output, tokens))
    rows += [_row(output, None) for output in extra]
    return sorted(rows, key=lambda row: str(row["path"]))


def _row(output: Output, tokens: int | None) -> dict[str, Any]:
    return {
        "path": output.path,
        "kind": output.kind,
        "name": logical_name(output.path),
        "bytes": output.bytes,
        "blake3": output.blake3,
        "rows": output.rows,
        "tokens": tokens,
    }


def write_manifest(store: Store, rows: list[dict[str, Any]]) -> None:
    """Write ``manifest.parquet``."""
    sink = pa.BufferOutputStream()
    with open_writer(sink, MANIFEST.tagged) as writer:
        writer.write_table(conform(pa.Table.from_pylist(rows, schema=MANIFEST.schema), MANIFEST))
    store.write("manifest.parquet", sink.getvalue().to_pybytes())
