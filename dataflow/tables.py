"""The tables a run folder holds, each declared once as an Arrow schema with a format version.

Every file carries ``leyden.table`` and ``leyden.version`` in its Parquet metadata. A reader checks
both, so that a file of another table or of a newer format is an error and never a misreading.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

ID = pa.binary(16)
"""Ids are 128 bits: the hash of an occurrence (``doc_id``) or of a text (``content_id``)."""


class TableError(Exception):
    """A file does not hold the table, or the version of it, that a reader asked for."""


@dataclass(frozen=True)
class Table:
    """A declared table: its name, format version and columns."""

    name: str
    version: int
    schema: pa.Schema

    @property
    def tagged(self) -> pa.Schema:
        """The schema with the table's name and version in its metadata."""
        return self.schema.with_metadata(
            {"leyden.table": self.name, "leyden.version": str(self.version)}
        )


def _schema(**columns: pa.DataType | tuple[pa.DataType, bool]) -> pa.Schema:
    fields = []
    for name, kind in columns.items():
        if isinstance(kind, tuple):
            fields.append(pa.field(name, kind[0], nullable=kind[1]))
        else:
            fields.append(pa.field(name, kind, nullable=False))
    return pa.schema(fields)


DOCUMENTS = Table(
    "documents",
    1,
    _schema(
        doc_id=ID,
        content_id=ID,
        source=pa.string(),
        uri=pa.string(),
        offset=pa.int64(),
        captured_at=(pa.timestamp("ms", tz="UTC"), True),
        license=pa.string(),
        rights=pa.list_(pa.field("element", pa.string())),
        parent_id=(ID, True),
        source_digest=ID,
        media_type=pa.string(),
        encoding=(pa.string(), True),
        metadata=(pa.string(), True),
        text=pa.large_string(),
    ),
)
"""One row per record read, in the order of its partition."""

DISPOSITIONS = Table(
    "dispositions",
    1,
    _schema(
        doc_id=ID,
        source=pa.string(),
        kept=pa.bool_(),
        step=(pa.string(), True),
        rule=(pa.string(), True),
        value=(pa.float64(), True),
        threshold=(pa.float64(), True),
        cluster=(ID, True),
        survivor=(ID, True),
        text_bytes=pa.int64(),
        kept_bytes=pa.int64(),
        removed_bytes=pa.int64(),
        inserted_bytes=pa.int64(),
    ),
)
"""Row-aligned with ``documents``: what became of each document, and why.

A kept document has ``kept_bytes = text_bytes - removed_bytes + inserted_bytes``; a dropped one has
``kept_bytes = removed_bytes = inserted_bytes = 0``: its whole text counts as dropped.
"""

SPANS = Table(
    "spans",
    1,
    _schema(
        doc_id=ID,
        rule=pa.string(),
        start=pa.int64(),
        length=pa.int64(),
        inserted=pa.int64(),
    ),
)
"""Bytes removed from, or replaced in, kept documents: offsets into the extracted text (UTF-8)."""

UNREADABLE = Table(
    "unreadable",
    1,
    _schema(
        source=pa.string(),
        uri=pa.string(),
        offset=pa.int64(),
        reason=pa.string(),
        detail=pa.string(),
    ),
)
"""Records that were seen and could not be read."""

INDEX = Table(
    "index",
    1,
    _schema(
        doc_id=ID,
        content_id=ID,
        shard=pa.string(),
        member=pa.string(),
        text_offset=pa.int64(),
        text_bytes=pa.int64(),
        token_offset=pa.int64(),
        tokens=pa.int64(),
        source=pa.string(),
        language=pa.string(),
        license=pa.string(),
        tier=pa.string(),
        domain=(pa.string(), True),
        split=pa.string(),
        cluster=(ID, True),
    ),
)
"""One row per kept document, in shard order. Offsets are absolute in the shard's tar files."""

MANIFEST = Table(
    "manifest",
    1,
    _schema(
        path=pa.string(),
        kind=pa.string(),
        name=pa.string(),
        bytes=pa.int64(),
        blake3=pa.string(),
        rows=(pa.int64(), True),
        tokens=(pa.int64(), True),
    ),
)
"""One row per file of the run: what it is and how to know it unchanged.

``name`` is the logical name (without the step key that file names end in).
"""

TABLES = {t.name: t for t in (DOCUMENTS, DISPOSITIONS, SPANS, UNREADABLE, INDEX, MANIFEST)}


def check_table(schema: pa.Schema, expected: Table, where: str) -> None:
    """Check that a Parquet schema is ``expected``, in a version this code reads.

    Raises
    ------
    TableError
        Naming the file, what was found and what was expected.
    """
    metadata: dict[bytes, bytes] = schema.metadata or {}
    name = metadata.get(b"leyden.table", b"").decode()
    version = metadata.get(b"leyden.version", b"0").decode()
    if name != expected.name:
        raise TableError(f"{where}: found table {name!r}, expected {expected.name!r}")
    if version != str(expected.version):
        raise TableError(
            f"{where}: found {name} version {version}, expected {expected.version}; "
            "rebuild the run with this version of Leyden"
        )
    if not schema.remove_metadata().equals(expected.schema):
        missing = sorted(set(expected.schema.names) - set(schema.names))
        extra = sorted(set(schema.names) - set(expected.schema.names))
        raise TableError(
            f"{where}: the columns of {name!r} differ from its declaration "
            f"(missing {missing}, unexpected {extra})"
        )


def conform(table: pa.Table, declared: Table) -> pa.Table:
    """``table`` with the declared types and metadata, ready to be written."""
    return table.cast(declared.schema).replace_schema_metadata(declared.tagged.metadata)
