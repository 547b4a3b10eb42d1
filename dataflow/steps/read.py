"""``read``: a partition of a source becomes rows of ``documents`` and of ``unreadable``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pyarrow as pa

from dataflow import sources
from dataflow.ids import content_id, doc_id
from dataflow.roots import add_roots, hex_root, rows_root
from dataflow.sources.spec import Partition, Record, SourceSpec, Unreadable
from dataflow.tables import DOCUMENTS, UNREADABLE
from dataflow.tasks import Step, StepContext, TableSink

GROUP_BYTES = 8 << 20
"""Text of one row group: what every later pass holds in memory at a time."""

GROUP_ROWS = 50_000

UNSETTLED = ("changed", "io-error", "permission", "vanished")
"""Reasons that say nothing of a file's content: planning found it well, reading did not. The next
build tries again."""

_ROOT_COLUMNS = [name for name in DOCUMENTS.schema.names if name != "text"]
"""``content_id`` stands for the text."""


class _DocumentBuffer:
    """Collects records as columns and writes them as row groups."""

    def __init__(self, source: str, sink: TableSink) -> None:
        self.source = source
        self.sink = sink
        self.text_bytes = 0
        self.documents = 0
        self.root = 0
        self._clear()

    def _clear(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in DOCUMENTS.schema.names}
        self._bytes = 0

    def add(self, record: Record) -> None:
        text = record.text.encode("utf-8")
        parent = record.parent
        values = {
            "doc_id": doc_id(self.source, record.uri, record.offset),
            "content_id": content_id(text),
            "source": self.source,
            "uri": record.uri,
            "offset": record.offset,
            "captured_at": None if record.captured_at is None else record.captured_at * 1000,
            "license": record.license,
            "rights": list(record.rights),
            "parent_id": doc_id(self.source, *parent) if parent else None,
            "source_digest": record.digest,
            "media_type": record.media_type,
            "encoding": record.encoding,
            "metadata": (
                orjson.dumps(record.metadata, option=orjson.OPT_SORT_KEYS).decode()
                if record.metadata
                else None
            ),
            "text": record.text,
        }
        for name, column in self._columns.items():
            column.append(values[name])
        self._bytes += len(text)
        self.text_bytes += len(text)
        self.documents += 1
        if self._bytes >= GROUP_BYTES or len(self._columns["doc_id"]) >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._columns["doc_id"]:
            return
        table = pa.table(
            {
                field.name: pa.array(self._columns[field.name], field.type)
                for field in DOCUMENTS.schema
            },
            schema=DOCUMENTS.schema,
        )
        self._clear()
        self.root = add_roots([self.root, rows_root(table.select(_ROOT_COLUMNS))])
        self.sink.write(table)


def documents_root(table: pa.Table) -> int:
    """The root of rows of ``documents``; ``verify`` computes it again."""
    return rows_root(table.select(_ROOT_COLUMNS))


def run(context: StepContext) -> dict[str, Any]:
    """Read every record of the partition; count them; hash the rows."""
    spec = SourceSpec.from_json(context.local["spec"])
    partition = Partition.from_json(context.local["partition"])
    unreadable: dict[str, list[Any]] = {name: [] for name in UNREADABLE.schema.names}
    reasons: Counter[str] = Counter()
    settled = {(item.uri, item.reason) for item in partition.items if item.reason}
    # RECORD names one content for good: a file that differs will differ again.
    settled |= {(i.uri, "changed") for i in partition.items if i.fingerprint.startswith("sha256:")}
    unsettled = bad = 0
    with (
        context.create_table("documents", "documents", DOCUMENTS, kind="documents") as sink,
        context.create_table(
            "unreadable", "ledger/unreadable", UNREADABLE, kind="unreadable"
        ) as unreadable_sink,
    ):
        buffer = _DocumentBuffer(spec.name, sink)
        for outcome in sources.read(spec, partition):
            if isinstance(outcome, Unreadable):
                row = (spec.name, outcome.uri, outcome.offset, outcome.reason, outcome.detail)
                for column, value in zip(unreadable.values(), row, strict=True):
                    column.append(value)
                reasons[outcome.reason] += 1
                bad += outcome.bad
                if (outcome.uri, outcome.reason) not in settled:
                    unsettled += outcome.reason in UNSETTLED
            else:
                buffer.add(outcome)
        buffer.flush()
        rows = pa.table(unreadable, schema=UNREADABLE.schema)
        unreadable_sink.write(rows)
    return {
        "source": spec.name,
        "seen": buffer.documents + rows.num_rows,
        "unreadable": rows.num_rows,
        "bad": bad,
        "read": buffer.documents,
        "raw_bytes": partition.bytes,
        "text_bytes": buffer.text_bytes,
        "unsettled": unsettled,
        "reasons": dict(sorted(reasons.items())),
        "documents_root": hex_root(buffer.root),
        "unreadable_root": hex_root(rows_root(rows)),
    }


STEP = Step("read", run)
