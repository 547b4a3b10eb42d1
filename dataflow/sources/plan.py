"""From a source to partitions: list, select, sample, cut, group; the same ones every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches

from dataflow.sources.digests import sample_files
from dataflow.sources.filesystems import Found
from dataflow.sources.formats import FORMATS
from dataflow.sources.formats.beside import with_images_beside
from dataflow.sources.formats.detect import by_name
from dataflow.sources.locations import LOCATIONS
from dataflow.sources.opened import Opened
from dataflow.sources.patterns import selector
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import (
    HTML_EXTRACTORS,
    KINDS,
    Item,
    Partition,
    PlanError,
    SourceSpec,
    item_bytes,
)
from dataflow.sources.synthesised.listing import list_items as list_synthesised

MAX_ITEMS = 20_000
"""Files a partition holds at most, however small they are."""


def plan(spec: SourceSpec, partition_bytes: int) -> list[Partition]:
    """The partitions of a source, in the order of their uris.

    Files stay whole except plain JSONL (byte ranges) and Parquet (row groups) larger than
    ``partition_bytes`` stored bytes. What is listed and cannot be read (a pipe, a folder without
    permission, a link to a folder) is an item with a ``reason``, so that ``read`` accounts for it.

    Raises
    ------
    PlanError
        The spec is wrong, a path matches nothing, or nothing is left after selection.
    SourceError
        Remote storage failed.
    """
    check(spec)
    if partition_bytes < 1:
        raise PlanError(f"partition_bytes is {partition_bytes}, expected at least 1")
    if spec.kind == "synthesised":
        return _partitions(spec, list_synthesised(spec, partition_bytes), partition_bytes)
    files = _select(spec, _distinct(spec, LOCATIONS[spec.kind](spec)))
    if spec.sample is not None:
        files = sample_files(files, spec.sample)
    if not any(not f.reason for f in files):
        why = f" ({len(files)} entries cannot be read: {files[0].reason})" if files else ""
        raise PlanError(
            f"source {spec.name!r}: no file is left after include, exclude and sample{why}"
        )
    items = with_images_beside(
        spec, _cut(spec, sorted(files, key=lambda f: f.uri), partition_bytes)
    )
    return _partitions(spec, items, partition_bytes)


def _partitions(spec: SourceSpec, items: Iterable[Item], partition_bytes: int) -> list[Partition]:
    return [
        Partition(spec.name, index, tuple(group))
        for index, group in enumerate(_group(items, partition_bytes))
    ]


def check(spec: SourceSpec) -> None:
    """Raise ``PlanError`` for a name that does not exist, naming the nearest one that does."""
    for key, value, known in (
        ("kind", spec.kind, KINDS),
        ("format", spec.format, ("auto", *FORMATS)),
        ("html", spec.html, HTML_EXTRACTORS),
    ):
        if value not in known:
            near = get_close_matches(value, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise PlanError(
                f"source {spec.name!r}: unknown {key} {value!r}, "
                f"expected one of {', '.join(known)}{hint}"
            )
    if not spec.name or "\0" in spec.name:
        raise PlanError(f"source name {spec.name!r} is empty or holds NUL")


def _distinct(spec: SourceSpec, found: Iterable[Found]) -> list[Found]:
    by_uri: dict[str, Found] = {}
    for file in found:
        other = by_uri.setdefault(file.uri, file)
        if other.locator != file.locator:
            raise PlanError(
                f"source {spec.name!r}: {other.locator} and {file.locator} both have the uri "
                f"{file.uri!r}; read them as two sources"
            )
    return list(by_uri.values())


def _select(spec: SourceSpec, found: list[Found]) -> list[Found]:
    selected = selector(spec.include, spec.exclude)
    return [f for f in found if f.uri.endswith("/") or selected(f.uri)]


def _cut(spec: SourceSpec, files: Iterable[Found], partition_bytes: int) -> Iterator[Item]:
    for file in files:
        format_name = spec.format if spec.format != "auto" else by_name(file.uri) or "auto"
        item = Item(
            uri=file.uri,
            locator=file.locator,
            format=format_name,
            size=file.size,
            fingerprint=file.fingerprint,
            license=file.license,
            reason=file.reason,
            detail=file.detail,
        )
        cut = FORMATS[format_name].cut if format_name in FORMATS else None
        if cut is None or file.reason or 0 <= item.size <= partition_bytes:
            yield item
            continue
        try:
            with Opened(spec, item) as opened:
                yield from cut(opened, partition_bytes)
        except Refusal as refusal:
            yield replace(item, reason=refusal.reason, detail=refusal.detail)


def _group(items: Iterable[Item], partition_bytes: int) -> Iterator[list[Item]]:
    group: list[Item] = []
    held = 0
    for item in items:
        size = item_bytes(item)
        if group and (held + size > partition_bytes or len(group) == MAX_ITEMS):
            yield group
            group, held = [], 0
        group.append(item)
        held += size
    if group:
        yield group
