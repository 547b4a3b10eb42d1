"""``read``: a partition of a source becomes rows of ``documents`` and of ``unreadable``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pyarrow as pa

from dataflow import sources
from dataflow.ids import content_id, doc_id
from dataflow.pictures import PictureWriter, loss_fault, marks_differ, picture_rows
from dataflow.roots import add_roots, hex_root, rows_root
from dataflow.sources.spec import Partition, Record, SourceError, SourceSpec, Unreadable
from dataflow.tables import DOCUMENTS, UNREADABLE
from dataflow.tasks import Step, StepContext, TableSink
from vl_data.mix.preferences import is_pair

GROUP_BYTES = 8 << 20
"""Text of one row group: what every later pass holds in memory at a time."""

GROUP_PICTURE_BYTES = 32 << 20
"""Image bytes that the documents of one row group have at most, unless it is one document."""

GROUP_ROWS = 50_000

UNSETTLED = ("changed", "io-error", "permission", "vanished")
"""Reasons that say nothing of a file's content: planning found it well, reading did not. The next
build tries again."""

_LATER = ["images", "loss"]
_ROOT_COLUMNS = [name for name in DOCUMENTS.schema.names if name not in ("text", *_LATER)] + _LATER
"""``content_id`` stands for the text."""


_NONE: list[Any] = []
"""No images, no spans: one list for all of the many that have neither."""


class _DocumentBuffer:
    """Collects records as columns and writes them as row groups."""

    def __init__(self, source: str, sink: TableSink, pictures: PictureWriter) -> None:
        self.source = source
        self.sink = sink
        self.pictures = pictures
        self.text_bytes = 0
        self.documents = self.spanned = 0
        self.root = 0
        self._clear()

    def _clear(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in DOCUMENTS.schema.names}
        self._bytes = self._picture_bytes = 0

    def add(self, record: Record) -> None:
        text = record.text.encode("utf-8")
        parent = record.parent
        fault = loss_fault(text, record.loss) if record.loss else None
        if fault is not None:
            raise SourceError(f"source {self.source}: {record.uri}: {fault}")
        digests: list[bytes] = []
        if record.images:
            digests = [picture.facts.digest for picture in record.images]
            self._make_room(sum(picture.facts.bytes for picture in record.images))
            self.pictures.add(record.images)
        values = {
            "doc_id": doc_id(self.source, record.uri, record.offset),
            "content_id": content_id(text, digests),
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
            "images": picture_rows(record.images) if digests else _NONE,
            "loss": [place for span in record.loss for place in span] if record.loss else _NONE,
        }
        for name, column in self._columns.items():
            column.append(values[name])
        self._bytes += len(text)
        self.text_bytes += len(text)
        self.documents += 1
        self.spanned += bool(record.loss)
        if self._bytes >= GROUP_BYTES or len(self._columns["doc_id"]) >= GROUP_ROWS:
            self.flush()

    def _make_room(self, picture_bytes: int) -> None:
        """Begin another row group where the images of a record would make this one too large."""
        if self._picture_bytes and self._picture_bytes + picture_bytes > GROUP_PICTURE_BYTES:
            self.flush()
        self._picture_bytes += picture_bytes

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
        self.root = add_roots([self.root, documents_root(table)])
        self.sink.write(table)


def documents_root(table: pa.Table) -> int:
    """The root of rows of ``documents``; ``verify`` computes it again."""
    return rows_root(table.select(_ROOT_COLUMNS), _LATER)


def run(context: StepContext) -> dict[str, Any]:
    """Read every record of the partition; count them; hash the rows."""
    spec = SourceSpec.from_json(context.local["spec"])
    partition = Partition.from_json(context.local["partition"])
    unreadable = _UnreadableRows(spec.name)
    settled = {(item.uri, item.reason) for item in partition.items if item.reason}
    # RECORD names one content for good: a file that differs will differ again.
    settled |= {(i.uri, "changed") for i in partition.items if i.fingerprint.startswith("sha256:")}
    unsettled = bad = refined = pairs = 0
    with (
        context.create_table("documents", "documents", DOCUMENTS, kind="documents") as sink,
        context.create_table(
            "unreadable", "ledger/unreadable", UNREADABLE, kind="unreadable"
        ) as unreadable_sink,
        PictureWriter(context) as pictures,
    ):
        buffer = _DocumentBuffer(spec.name, sink, pictures)
        for outcome in map(marks_differ, sources.read(spec, partition)):
            if isinstance(outcome, Unreadable):
                unreadable.add(outcome)
                bad += outcome.bad
                if (outcome.uri, outcome.reason) not in settled:
                    unsettled += outcome.reason in UNSETTLED
            else:
                buffer.add(outcome)
                refined += "refined" in (outcome.metadata or {})
                pairs += is_pair(outcome.text, outcome.loss)
                # The record is read: that an image of it is left out is no fault of the record.
                for number, refused in enumerate(outcome.refused):
                    which = refused.number if refused.number >= 0 else number
                    uri = f"{outcome.uri}#image-{which}"
                    detail = f"{refused.ref}: {refused.detail}" if refused.detail else refused.ref
                    unreadable.add(Unreadable(uri, outcome.offset, refused.reason, detail))
                if outcome.cut is not None:
                    uri = f"{outcome.uri}#{outcome.cut.part}"
                    reason, detail = outcome.cut.reason, outcome.cut.detail
                    unreadable.add(Unreadable(uri, outcome.offset, reason, detail))
        buffer.flush()
        rows = unreadable.table()
        unreadable_sink.write(rows)
    return {
        "source": spec.name,
        "seen": buffer.documents + rows.num_rows,
        "unreadable": rows.num_rows,
        "bad": bad,
        "read": buffer.documents,
        "raw_bytes": partition.bytes,
        "text_bytes": buffer.text_bytes,
        "images": pictures.count,
        "image_bytes": pictures.bytes,
        "spanned": buffer.spanned,
        **({} if spec.captions is None else {"refined": refined}),
        **({"pairs": pairs} if pairs else {}),
        "unsettled": unsettled,
        "reasons": dict(sorted(unreadable.reasons.items())),
        "documents_root": hex_root(buffer.root),
        "unreadable_root": hex_root(rows_root(rows)),
    }


class _UnreadableRows:
    """Collects the rows of ``unreadable``."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._columns: dict[str, list[Any]] = {name: [] for name in UNREADABLE.schema.names}
        self.reasons: Counter[str] = Counter()

    def add(self, outcome: Unreadable) -> None:
        row = (self._source, outcome.uri, outcome.offset, outcome.reason, outcome.detail)
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        self.reasons[outcome.reason] += 1

    def table(self) -> pa.Table:
        return pa.table(self._columns, schema=UNREADABLE.schema)


STEP = Step("read", run)
