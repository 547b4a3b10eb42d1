"""What a run made by hand keeps beside its index: signals, clusters, the side index."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import blake3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.journal import Output, Record
from dataflow.signals import SIGNALS
from dataflow.steps.lookup import ABSENT, ENTRY
from dataflow.store import Store

Row = tuple[bytes, bytes | None, Mapping[str, float]]
"""A document that was read: its id, its cluster, its signals."""


def write_ledger(
    store: Store, rows: Sequence[Row], places: Mapping[bytes, tuple[int, int]], partitions: int
) -> tuple[list[dict[str, Record]], Record]:
    """Write ``rows``, dealt to partitions in turn.

    Parameters
    ----------
    places : of packed documents, by id: the number of their shard, and their row in its index

    Returns
    -------
    Of each partition its records by step; the record of the side index.
    """
    named = sorted({name for _, _, signals in rows for name in signals})
    entries = []
    found = []
    for number in range(partitions):
        mine = rows[number::partitions]
        columns = {
            name: pa.array([signals.get(name) for _, _, signals in mine], SIGNALS[name].type)
            for name in named
        }
        scan = pa.table({"doc_id": _ids([doc_id for doc_id, _, _ in mine]), **columns})
        settled = pa.table({"cluster": _ids([cluster for _, cluster, _ in mine])})
        records = {
            "read": _record(store, number, "read", "documents", scan.select(["doc_id"])),
            "scan": _record(store, number, "scan", "signals", scan.drop_columns(["doc_id"])),
            "language": _record(store, number, "language", "signals", scan.select([])),
            "settle": _record(store, number, "settle", "dispositions", settled),
        }
        found.append(records)
        for row, (doc_id, _, _) in enumerate(mine):
            entries.append((doc_id, number, row, *places.get(doc_id, (ABSENT, ABSENT))))
    table = np.zeros(len(entries), ENTRY)
    for place, (doc_id, *rest) in enumerate(sorted(entries)):
        table["key"][place] = np.frombuffer(doc_id, ">u8")
        for name, value in zip(("partition", "row", "part", "part_row"), rest, strict=True):
            table[name][place] = value
    path = "index/lookup.bin"
    store.write(path, table.tobytes())
    output = Output(path, "lookup", table.nbytes, blake3.blake3(table.tobytes()).hexdigest())
    return found, Record("1" * 32, "lookup", "lookup", {"documents": output})


def _ids(ids: Sequence[bytes | None]) -> pa.Array:
    return pa.array(ids, pa.binary(16))


def _record(store: Store, number: int, step: str, role: str, table: pa.Table) -> Record:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=5)
    path = f"{step}/{number:05d}.parquet"
    store.write(path, sink.getvalue())
    digest = blake3.blake3(sink.getvalue()).hexdigest()
    output = Output(path, role, len(sink.getvalue()), digest, table.num_rows)
    key = blake3.blake3(path.encode()).hexdigest()[:32]
    return Record(key, step, f"part-{number:05d}", {role: output})
