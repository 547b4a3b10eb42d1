"""Rows of image-caption pairs: Parquet, Arrow, JSON, JSON Lines and CSV.

A row holds its image (bytes, or a struct of bytes and path as Hugging Face's datasets write it) or
names a file relative to the one it stands in. A JSON object that names none belongs to the image of
its own name: ``000017.json`` to ``000017.jpg``, as img2dataset writes folders.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from dataflow.sources.compression import strip_suffix
from dataflow.sources.formats import arrow, parquet
from dataflow.sources.formats.beside import Beside
from dataflow.sources.formats.lines import lines
from dataflow.sources.formats.named_images import images_of
from dataflow.sources.formats.objects import objects
from dataflow.sources.formats.pairs import Found, image_column, record_of
from dataflow.sources.formats.rows import lookup
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcome, Outcomes

JSON = "application/json"
CSV = "text/csv"

_SAME_NAME = ("jpg", "jpeg", "png", "webp", "gif", "tif", "tiff", "bmp", "avif", "jp2")


def outcome_of(
    opened: Opened, row: Mapping[str, Any] | Refusal, offset: int, kind: str, beside: Beside
) -> Outcome:
    """The record of a row, or the reason why there is none."""
    spec, item = opened.spec, opened.item
    try:
        if isinstance(row, Refusal):
            raise row
        found = _images(opened, row, beside)
        return record_of(found, row, spec, item.uri, offset, kind, item.license)
    except Refusal as refusal:
        return opened.unreadable(offset, refusal)


def _images(opened: Opened, row: Mapping[str, Any], beside: Beside) -> list[Found]:
    spec = opened.spec
    column = image_column(row, spec.fields)
    if column is not None:
        found = images_of(lookup(row, column), beside, spec)
        if found:
            return found
        raise Refusal("image-missing", f"{column!r} holds an empty list")
    status = row.get("error_message") or row.get("status")
    if isinstance(status, str) and status != "success":
        raise Refusal("image-missing", status[:500])  # img2dataset could not download it
    stem = PurePosixPath(strip_suffix(opened.item.uri))
    if stem.suffix == ".json" and spec.fields.image is None:
        for suffix in _SAME_NAME:
            try:
                return images_of(f"{stem.stem}.{suffix}", beside, spec)
            except Refusal as refusal:
                if refusal.reason != "image-missing":
                    raise
    names = ", ".join(sorted(map(str, row))[:20])
    raise Refusal("image-missing", f"no field names or holds an image; fields: {names}")


def read_json(opened: Opened) -> Outcomes:
    """An outcome for each object; offsets are those of objects in the decompressed file."""
    beside = Beside(opened.spec, opened.item)
    for offset, _, row in objects(opened):
        yield outcome_of(opened, row, offset, JSON, beside)


def read_csv(opened: Opened) -> Outcomes:
    """An outcome for each row under the header (RFC 4180; tabs in ``.tsv``); offsets count rows.

    Raises
    ------
    Refusal
        ``missing-field`` for a file without a header.
    """
    beside = Beside(opened.spec, opened.item)
    limit = opened.spec.limits.max_record_bytes
    damage: list[Refusal] = []
    name = strip_suffix(opened.item.uri.lower())
    delimiter = "\t" if name.endswith((".tsv", ".tab")) else ","
    csv.field_size_limit(min(limit, (1 << 31) - 1))
    rows = csv.reader(_decoded(opened, limit, damage), delimiter=delimiter)
    number = 0
    try:
        header = next(rows, None)
        if header is None:
            raise damage[0] if damage else Refusal("missing-field", "a file without a header")
        if any(map(_broken, header)):
            raise Refusal("encoding", "the header is not valid UTF-8")
        for number, values in enumerate(rows, 1):
            if not values:
                continue
            row: Mapping[str, Any] | Refusal = dict(zip(header, values, strict=False))
            if any(not value.isprintable() and _broken(value) for value in values):
                row = Refusal("encoding", "the row is not valid UTF-8")
            elif len(values) != len(header):
                row = Refusal(
                    "missing-field", f"found {len(values)} values, expected {len(header)}"
                )
            yield outcome_of(opened, row, number - 1, CSV, beside)
    except csv.Error as error:
        yield opened.unreadable(number, Refusal("corrupt", f"after row {number}: {error}"))
        return
    for refusal in damage:
        yield opened.unreadable(number, refusal)


def _decoded(opened: Opened, limit: int, damage: list[Refusal]) -> Iterator[str]:
    """Lines with their ends; what is not UTF-8 as lone surrogates, so that its row can be told."""
    try:
        for offset, line in lines(opened.stream(), 0, limit):
            if line is None:
                raise Refusal("record-too-large", f"a line of more than {limit} bytes")
            data = line.removeprefix(b"\xef\xbb\xbf") if offset == 0 else line
            yield data.decode("utf-8", "surrogateescape") + "\n"
    except Refusal as refusal:
        damage.append(refusal)


def _broken(value: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in value)


def read_parquet(opened: Opened) -> Outcomes:
    """An outcome a row; offsets are row numbers in the file."""
    rows_of = _rows_of(opened, parquet.MEDIA_TYPE)
    yield from parquet.read_rows(opened, None, rows_of, BATCH_ROWS)


def read_arrow(opened: Opened) -> Outcomes:
    """An outcome a row; offsets are row numbers in the file."""
    yield from arrow.read_rows(opened, _rows_of(opened, arrow.MEDIA_TYPE))


BATCH_ROWS = 16
"""Rows of images that are in memory at a time."""


def batch_rows(batch: pa.RecordBatch) -> Iterator[Mapping[str, Any] | Refusal]:
    """The rows of a batch, one at a time: of images, all at once may be too many."""
    for number in range(batch.num_rows):
        try:
            yield batch.slice(number, 1).to_pylist()[0]
        except UnicodeDecodeError:
            yield Refusal("encoding", "a string of the row is not valid UTF-8")


def _rows_of(opened: Opened, kind: str) -> Callable[[pa.RecordBatch, int], Outcomes]:
    beside = Beside(opened.spec, opened.item)

    def rows_of(batch: pa.RecordBatch, first: int) -> Outcomes:
        for number, row in enumerate(batch_rows(batch), first):
            yield outcome_of(opened, row, number, kind, beside)

    return rows_of
