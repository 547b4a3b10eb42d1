"""``llava``: conversations about images, as JSON, JSON Lines, Parquet or Arrow, images beside them.

LLaVA's form: ``image`` (a path relative to the file, or a list of paths), ``conversations`` with
``<image>`` where an image stands. Rows without an image are conversations of text alone. What the
text is, and what of it is to be learnt, is ``vl_data.mix.chat``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import xxhash

from dataflow.sources.compression import strip_suffix
from dataflow.sources.formats import arrow, jsonl, parquet
from dataflow.sources.formats.beside import Beside
from dataflow.sources.formats.fitted import fitted
from dataflow.sources.formats.named_images import images_of
from dataflow.sources.formats.objects import objects
from dataflow.sources.formats.pair_rows import BATCH_ROWS, batch_rows
from dataflow.sources.formats.pairs import Found, image_column
from dataflow.sources.formats.picture import pictures_of
from dataflow.sources.formats.rows import lookup, metadata_of, seconds
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Item, Outcome, Outcomes, Record, SourceSpec
from vl_data.mix.chat import chat_of
from vl_data.mix.refusals import SampleRefused
from vl_data.mix.turns import turns_of

MEDIA_TYPE = "application/json"
_NOT_METADATA = frozenset({"conversations", "messages"})

RecordOf = Callable[[Opened, Mapping[str, Any], int, str, Beside], Record]
"""The record of a row at an offset, of a media type; raises ``Refusal`` or ``SampleRefused``."""


def read(opened: Opened) -> Outcomes:
    """An outcome a conversation; offsets as of ``image-text``."""
    return read_rows(opened, _record)


def read_rows(opened: Opened, row_record: RecordOf) -> Outcomes:
    """An outcome for each row of a file of conversations or the like."""
    beside = Beside(opened.spec, opened.item)
    head = opened.head(8)
    if not head and opened.item.size == 0:
        raise Refusal("empty")
    if not head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        for found in objects(opened):
            yield _outcome(opened, found.row, found.offset, MEDIA_TYPE, beside, row_record)
        return

    def rows_of(batch: pa.RecordBatch, first: int) -> Outcomes:
        for number, row in enumerate(batch_rows(batch), first):
            yield _outcome(opened, row, number, kind, beside, row_record)

    if head.startswith(b"PAR1"):
        kind = parquet.MEDIA_TYPE
        yield from parquet.read_rows(opened, None, rows_of, BATCH_ROWS)
    else:
        kind = arrow.MEDIA_TYPE
        yield from arrow.read_rows(opened, rows_of)


def cut(opened: Opened, partition_bytes: int) -> list[Item]:
    """Row groups of Parquet, ranges of JSON Lines; other files stay whole."""
    if opened.head(4) == b"PAR1":
        return parquet.cut(opened, partition_bytes)
    if strip_suffix(opened.item.uri.lower()).endswith((".jsonl", ".ndjson")):
        return jsonl.cut(opened, partition_bytes)
    return [opened.item]


def _outcome(
    opened: Opened,
    row: Mapping[str, Any] | Refusal,
    offset: int,
    kind: str,
    beside: Beside,
    row_record: RecordOf,
) -> Outcome:
    try:
        if isinstance(row, Refusal):
            raise row
        return row_record(opened, row, offset, kind, beside)
    except Refusal as refusal:
        return opened.unreadable(offset, refusal)
    except SampleRefused as refused:
        return opened.unreadable(offset, Refusal(refused.reason, refused.detail))


def _record(
    opened: Opened, row: Mapping[str, Any], offset: int, kind: str, beside: Beside
) -> Record:
    spec, item = opened.spec, opened.item
    turns_of(row)  # first: of a row without turns no image is read
    found = shown_by(row, beside, spec)
    return record_of(found, row, spec, item.uri, offset, kind, item.license)


def shown_by(row: Mapping[str, Any], beside: Beside, spec: SourceSpec) -> Sequence[Found]:
    """The images that a row names; none where it names none."""
    column = image_column(row, spec.fields)
    value = lookup(row, column) if column is not None else []
    return images_of(value, beside, spec) if value != "" else []


def record_of(
    found: Sequence[Found],
    row: Mapping[str, Any],
    spec: SourceSpec,
    uri: str,
    offset: int,
    kind: str,
    license_id: str = "",
) -> Record:
    """The record of a conversation about the images that were found for its row.

    Raises
    ------
    SampleRefused
        What is wrong with its turns.
    Refusal
        What is wrong with an image, or ``over-length``.
    """
    fields = spec.fields
    turns = turns_of(row)
    chat = chat_of(turns, len(found))  # first: a wrong text costs no decoding
    fit = fitted(turns, pictures_of(found, spec), spec.fit)
    if fit.cut is not None:
        chat = chat_of(fit.turns, len(fit.images))
    digest = xxhash.xxh3_128("\0".join(part for turn in turns for part in turn).encode())
    for image in found:
        digest.update(image.data)
    own = lookup(row, fields.license) if fields.license else None
    metadata = metadata_of(row, fields, _NOT_METADATA | {image_column(row, fields) or ""})
    return Record(
        uri=uri,
        offset=offset,
        text=chat.text,
        digest=digest.digest(),
        media_type=kind,
        license=own if isinstance(own, str) and own else license_id or spec.license,
        captured_at=seconds(lookup(row, fields.captured_at)) if fields.captured_at else None,
        encoding="utf-8",
        metadata=metadata or None,
        images=tuple(fit.images),
        loss=chat.loss,
        cut=fit.cut,
    )
