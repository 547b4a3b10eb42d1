"""The tables a run folder holds, each declared once as an Arrow schema with a format version.

Every file carries ``leyden.table`` and ``leyden.version`` in its Parquet metadata. A reader checks
both, so that a file of another table or of a newer format is an error and never a misreading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dataflow.lists import empty_lists
from dataflow.tilings import PLACED_IMAGES, PLACED_IMAGES_2, with_later_counts
from vl_data.images import IMAGE

ID = pa.binary(16)
"""Ids are 128 bits: the hash of an occurrence (``doc_id``) or of a text (``content_id``)."""


class TableError(Exception):
    """A file does not hold the table, or the version of it, that a reader asked for."""


@dataclass(frozen=True)
class Changed:
    """A column that had another type before a version.

    Attributes
    ----------
    since : the version that has the declared type
    former : the type before it
    renewed : a column of the declared type out of one of the former
    """

    since: int
    former: pa.DataType
    renewed: Callable[[Any], pa.Array]


@dataclass(frozen=True)
class Table:
    """A declared table: its name, format version and columns.

    ``added`` says which columns an earlier version lacks, and since which version they are there.
    They are lists: a row of a file without them has empty ones. ``changed`` says which columns
    an earlier version has in another form.
    """

    name: str
    version: int
    schema: pa.Schema
    added: Mapping[str, int] = dataclasses.field(default_factory=dict)
    changed: Mapping[str, Changed] = dataclasses.field(default_factory=dict)

    @property
    def tagged(self) -> pa.Schema:
        """The schema with the table's name and version in its metadata."""
        return self.schema.with_metadata(
            {"leyden.table": self.name, "leyden.version": str(self.version)}
        )

    def columns(self, version: int) -> pa.Schema:
        """The columns that files of a version have."""
        fields = [field for field in self.schema if self.added.get(field.name, 1) <= version]
        for place, field in enumerate(fields):
            change = self.changed.get(field.name)
            if change is not None and version < change.since:
                fields[place] = field.with_type(change.former)
        return pa.schema(fields)


def _schema(**columns: pa.DataType | tuple[pa.DataType, bool]) -> pa.Schema:
    fields = []
    for name, kind in columns.items():
        if isinstance(kind, tuple):
            fields.append(pa.field(name, kind[0], nullable=kind[1]))
        else:
            fields.append(pa.field(name, kind, nullable=False))
    return pa.schema(fields)


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


DOCUMENTS = Table(
    "documents",
    2,
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
        images=_list(IMAGE),
        loss=_list(pa.int64()),
    ),
    added={"images": 2, "loss": 2},
)
"""One row per record read, in the order of its partition.

In a document with images ``text`` holds one U+FFFC for each of them, in their order, and no other;
in one without, U+FFFC is a character like any other. ``loss`` is flat: start, end, start, end, …
in bytes of ``text``, ascending, of the parts that a model is to learn to say; empty: all of it.
"""

IMAGES = Table("images", 1, _schema(digest=pa.binary(32), data=pa.large_binary()))
"""The original bytes of a partition's images, each once, by the BLAKE3 of them."""

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
    3,
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
        images=PLACED_IMAGES,
    ),
    added={"images": 2},
    changed={"images": Changed(3, PLACED_IMAGES_2, with_later_counts)},
)
"""One row per kept document, in shard order. Offsets are absolute in the shard's tar files.

``tokens`` counts one for each image; ``images`` says how many features would stand there.
"""

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

TABLES = {t.name: t for t in (DOCUMENTS, IMAGES, DISPOSITIONS, SPANS, UNREADABLE, INDEX, MANIFEST)}


def check_table(schema: pa.Schema, expected: Table, where: str) -> None:
    """Check that a Parquet schema is ``expected``, in a version this code reads.

    Raises
    ------
    TableError
        Naming the file, what was found and what was expected.
    """
    metadata: dict[bytes, bytes] = schema.metadata or {}
    name = metadata.get(b"leyden.table", b"").decode()
    found = metadata.get(b"leyden.version", b"0").decode()
    if name != expected.name:
        raise TableError(f"{where}: found table {name!r}, expected {expected.name!r}")
    readable = range(1, expected.version + 1)
    if found not in map(str, readable):
        versions = " or ".join(map(str, readable))
        raise TableError(
            f"{where}: found {name} version {found}, expected {versions}; "
            "rebuild the run with this version of Leyden"
        )
    columns = expected.columns(int(found))
    if not schema.remove_metadata().equals(columns):
        missing = sorted(set(columns.names) - set(schema.names))
        extra = sorted(set(schema.names) - set(columns.names))
        raise TableError(
            f"{where}: the columns of {name!r} differ from its declaration "
            f"(missing {missing}, unexpected {extra})"
        )


def upgrade(table: pa.Table, declared: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """``table``, of any readable version, with columns of the present one.

    ``columns``: those that are wanted, all by default; ``table`` has those of them that its
    version has.
    """
    wanted = declared.schema.names if columns is None else list(columns)
    for name in wanted:
        field = declared.schema.field(name)
        if name not in table.column_names and name in declared.added:
            table = table.append_column(field, empty_lists(table.num_rows, field.type))
        change = declared.changed.get(name)
        if change is not None and table.schema.field(name).type.equals(change.former):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, field, change.renewed(table[name]))
    return table.select(wanted)


def conform(table: pa.Table, declared: Table) -> pa.Table:
    """``table`` with the declared types and metadata, ready to be written."""
    return table.cast(declared.schema).replace_schema_metadata(declared.tagged.metadata)
