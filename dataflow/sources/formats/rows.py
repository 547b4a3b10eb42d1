"""Rows of JSONL, Parquet and Arrow: from mapped columns to a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson

from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Fields, Record, SourceSpec

_MILLISECONDS_FROM = 100_000_000_000
"""Numbers above are milliseconds: as seconds they would be after the year 5100."""


def columns(fields: Fields) -> list[str] | None:
    """The top-level columns that ``fields`` needs, or None for all of them."""
    paths = [fields.text, fields.id, fields.url, fields.license, fields.captured_at]
    names = [p for p in (*paths, *fields.metadata) if p]
    return None if "*" in names else sorted({n.split(".")[0] for n in names} | set(names))


def record_of(
    row: Mapping[str, Any], spec: SourceSpec, uri: str, offset: int, digest: bytes, kind: str
) -> Record:
    """The record of one row.

    Raises
    ------
    Refusal
        ``missing-field`` where the text is absent or no string, ``no-text`` where it is blank.
    """
    fields = spec.fields
    text = lookup(row, fields.text)
    if not isinstance(text, str):
        found = "nothing" if text is None else type(text).__name__
        names = ", ".join(sorted(map(str, row))[:20])
        raise Refusal("missing-field", f"{fields.text!r} holds {found}; fields: {names}")
    if not text or text.isspace():
        raise Refusal("no-text")
    license_id = lookup(row, fields.license) if fields.license else None
    return Record(
        uri=uri,
        offset=offset,
        text=text,
        digest=digest,
        media_type=kind,
        license=license_id if isinstance(license_id, str) and license_id else spec.license,
        captured_at=seconds(lookup(row, fields.captured_at)) if fields.captured_at else None,
        encoding="utf-8",
        metadata=metadata_of(row, fields) or None,
    )


def metadata_of(
    row: Mapping[str, Any], fields: Fields, without: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """What of a row goes to the metadata; ``*`` leaves out the columns in ``without``."""
    metadata = {
        name: plain(value)
        for name in _metadata_names(row, fields, without)
        if (value := lookup(row, name)) is not None
    }
    for key, path in (("id", fields.id), ("url", fields.url)):
        if path and (value := lookup(row, path)) is not None:
            metadata[key] = plain(value)
    return metadata


def _metadata_names(
    row: Mapping[str, Any], fields: Fields, without: frozenset[str]
) -> Iterator[str]:
    used = {fields.text, fields.id, fields.url, fields.license, fields.captured_at} | without
    for name in fields.metadata:
        if name == "*":
            yield from (k for k in row if k not in used)
        else:
            yield name


def lookup(row: Mapping[str, Any], path: str) -> Any:
    """The value of a field, or of a dotted path where no field has the whole name; else None.

    A number in a path counts the elements of a list from 0.
    """
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return None
    return value


def seconds(value: Any) -> int | None:
    """A point in time as whole seconds since the epoch (UTC where no zone is given), or None."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    if abs(value) > _MILLISECONDS_FROM:
        value /= 1000
    return int(value) if abs(value) < _MILLISECONDS_FROM else None


def plain(value: Any) -> Any:
    """``value`` as JSON has it."""
    return orjson.loads(orjson.dumps(value, default=_unusual, option=orjson.OPT_NON_STR_KEYS))


def _unusual(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
