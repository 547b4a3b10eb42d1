"""Labels as Arrow tables: an input of a build, one row a content, in the order of the digests.

The schema's metadata say who labelled: under ``leyden.labels``, JSON with the kind, the model and
its settings, the prompt and its version. A row without a label says why in ``reason``
(of ``quality.endpoint.failures.REASONS``) and ``detail``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from vl_data.labels.errors import LabelError

CAPTIONS = pa.schema(
    [
        pa.field("digest", pa.binary(32), nullable=False),
        pa.field("caption_digest", pa.binary(32)),
        pa.field("caption", pa.string()),
        pa.field("description", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""``digest`` of the image's original bytes, ``caption_digest`` of the source's caption (null: the
source has none), the refined ``caption`` and a ``description`` of about 300 tokens."""

TAGS = pa.schema(
    [
        pa.field("digest", pa.binary(32), nullable=False),
        pa.field("tag", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""``digest`` by ``vl_data.labels.items.pair_digest``, and the capability ``tag``."""

_METADATA = b"leyden.labels"


def label_table(
    schema: pa.Schema, rows: Iterable[Mapping[str, Any]], about: Mapping[str, Any]
) -> pa.Table:
    """A table of rows with different keys, sorted by the key (the columns that end in digest)."""
    keys = [name for name in schema.names if name.endswith("digest")]
    ordered = sorted(rows, key=lambda row: [row[name] or b"" for name in keys])
    said = {_METADATA: orjson.dumps(dict(about), option=orjson.OPT_SORT_KEYS)}
    return pa.Table.from_pylist(ordered, schema=schema.with_metadata(said))


def about_labels(table: pa.Table) -> dict[str, Any]:
    """Who gave the labels of a table."""
    found = (table.schema.metadata or {}).get(_METADATA)
    if found is None:
        raise LabelError(
            "labels: found a table without `leyden.labels` in its metadata, expected one that"
            " `python -m vl_data caption` or `tag` wrote"
        )
    return dict(orjson.loads(found))


def write_labels(folder: Path, kind: str, table: pa.Table) -> tuple[Path, str]:
    """Write ``FOLDER/KIND-KEY.parquet``; returns its path and the BLAKE3 of its bytes.

    KEY is 16 hex digits over who labelled, so that labels of two models or two prompt versions
    never mix. The same table gives the same bytes (with one version of Arrow).
    """
    about = orjson.dumps(about_labels(table), option=orjson.OPT_SORT_KEYS)
    path = folder / f"{kind}-{blake3(about).hexdigest()[:16]}.parquet"
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)
    return path, blake3(path.read_bytes()).hexdigest()


def read_labels(source: Path | BinaryIO, schema: pa.Schema) -> pa.Table:
    """Labels that ``write_labels`` wrote; raises LabelError if it is another table."""
    with pq.ParquetFile(source) as file:
        table = file.read()
    if not table.schema.equals(schema):
        where = source if isinstance(source, Path) else "labels"
        raise LabelError(
            f"{where}: found columns {', '.join(table.schema.names)}, expected labels with"
            f" {', '.join(schema.names)}"
        )
    about_labels(table)
    return table
