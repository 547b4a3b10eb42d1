"""What the report reads: the tables of a run, opened by path, walked in aligned batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from quality.rules import Rule

BATCH_ROWS = 16_384
"""Rows that are looked at together: narrow columns only, so a few megabytes."""


class ReportError(Exception):
    """The tables of a run do not fit together, or one is missing."""


@dataclass(frozen=True)
class Partition:
    """The row-aligned files of one partition, by path, and its two lists.

    ``images`` and ``repetition`` are the signals of images, where there are any;
    ``image_reward`` and ``reward`` are there where the recipe asks for them.
    """

    name: str
    documents: str
    scan: str
    language: str
    dispositions: str
    spans: str | None = None
    unreadable: str | None = None
    images: str | None = None
    repetition: str | None = None
    image_reward: str | None = None
    reward: str | None = None


@dataclass(frozen=True)
class ReportInputs:
    """Everything the page is made from.

    Parameters
    ----------
    partitions : in the order of their names.
    index : files of the index, in any order.
    lock : the recipe with every default spelled out.
    summary : ``journal/summary.json``: ``name``, ``logical_root``, ``file_root``, ``workers``,
        ``wall_seconds``, ``executed`` (tasks that this build ran), ``peak_pss`` (bytes), and
        ``steps``: for each ``step`` its ``tasks``, ``seconds`` (summed over tasks),
        ``wall_seconds``, ``bytes_in``, ``bytes_out``, ``documents``, ``peak_rss`` (bytes).
        What is missing is shown as unknown.
    rules : for each source, the rules in the order in which they decide.
    open : opens a path for random reads. Text is read for sampled documents only, and for
        conversations where there are tags.
    tags : a table of capability tags, where one is given.
    tables : by folder and name, tables of the whole run, where there are any: ``tiers/cuts``,
        ``tiers/shares``, ``reward/categories``.
    """

    partitions: tuple[Partition, ...]
    index: tuple[str, ...]
    lock: Mapping[str, Any]
    summary: Mapping[str, Any]
    rules: Mapping[str, tuple[Rule, ...]]
    open: Callable[[str], Any] = field(repr=False)
    tags: Path | None = None
    tables: Mapping[str, str] = field(default_factory=dict)


_ROLES = {
    "documents": "documents",
    "signals/scan": "scan",
    "signals/language": "language",
    "signals/images": "images",
    "signals/repetition": "repetition",
    "signals/image_reward": "image_reward",
    "signals/reward": "reward",
    "ledger/dispositions": "dispositions",
    "ledger/spans": "spans",
    "ledger/unreadable": "unreadable",
}


def group_paths(paths: Sequence[str]) -> tuple[tuple[Partition, ...], tuple[str, ...]]:
    """Sort the Parquet files of a run into partitions and index files, by folder and name.

    A file name ends in the key of the step that wrote it, which differs between the tables of one
    partition and is cut off. Files of other folders are left aside.

    Raises
    ------
    ReportError
        If a partition lacks a table that every partition has.
    """
    found: dict[str, dict[str, str]] = {}
    index = []
    for path in sorted(paths):
        folder, _, file = path.rpartition("/")
        stem = file.removesuffix(".parquet")
        if stem == file:
            continue
        if folder == "index":
            index.append(path)
        elif folder in _ROLES:
            found.setdefault(stem.rpartition("-")[0], {})[_ROLES[folder]] = path
    partitions = []
    for name, roles in sorted(found.items()):
        for role in ("documents", "scan", "language", "dispositions"):
            if role not in roles:
                raise ReportError(
                    f"partition {name!r} has {sorted(roles)} but no {role!r}: "
                    "the build has not come to its end; run it again to resume"
                )
        partitions.append(Partition(name, **roles))
    return tuple(partitions), tuple(index)


_OF_THE_RUN = ("tiers", "reward")


def run_tables(paths: Sequence[str]) -> dict[str, str]:
    """The tables of the whole run, by folder and name without key."""
    found = {}
    for path in paths:
        folder, _, file = path.rpartition("/")
        if folder in _OF_THE_RUN and file.endswith(".parquet"):
            found[f"{folder}/{file.rpartition('-')[0]}"] = path
    return found


def lock_rules(lock: Mapping[str, Any]) -> dict[str, tuple[Rule, ...]]:
    """The rules of each source of a recipe lock, in the order in which they decide."""
    groups = lock.get("rules") or {}
    rules: dict[str, tuple[Rule, ...]] = {}
    for source in lock["sources"]:
        group = source.get("rules")
        entries = groups[group] if group else []
        rules[source["name"]] = tuple(Rule.from_json(_without_nulls(entry)) for entry in entries)
    return rules


def _without_nulls(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in entry.items()
        if value is not None
    }


def load_inputs(open_file: Callable[[str], Any], tags: Path | None = None) -> ReportInputs:
    """Find everything through ``manifest.parquet``, so that nothing has to be listed.

    ``open_file`` opens a path relative to the run folder. ``tags`` lie anywhere.
    """
    with open_file("manifest.parquet") as stream:
        paths = pq.read_table(stream, columns=["path"])["path"].to_pylist()
    with open_file("recipe.lock.yaml") as stream:
        lock = yaml.safe_load(bytes(stream.read()))
    with open_file("journal/summary.json") as stream:
        summary = json.loads(bytes(stream.read()))
    partitions, index = group_paths(paths)
    return ReportInputs(
        partitions, index, lock, summary, lock_rules(lock), open_file, tags, run_tables(paths)
    )


def local_opener(run: Path) -> Callable[[str], Any]:
    """Opens paths under a local run folder."""
    return lambda path: pa.OSFile(str(run / path), "rb")


def batches(
    inputs: ReportInputs, path: str, columns: Sequence[str], rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Walk some columns of one file in batches of at most ``rows``."""
    with inputs.open(path) as stream:
        file = pq.ParquetFile(stream)
        wanted = [name for name in columns if name in file.schema_arrow.names]
        if missing := sorted(set(columns) - set(wanted)):
            raise ReportError(f"{path}: found no column {missing}, expected by the report")
        yield from file.iter_batches(batch_size=rows, columns=wanted, use_threads=False)


class _Cursor:
    """A file's batches, taken a given number of rows at a time."""

    def __init__(self, source: Iterator[pa.RecordBatch]) -> None:
        self._source = source
        self._batch: pa.RecordBatch | None = None

    def available(self) -> int:
        while self._batch is None or self._batch.num_rows == 0:
            self._batch = next(self._source, None)
            if self._batch is None:
                return 0
        return int(self._batch.num_rows)

    def take(self, rows: int) -> pa.RecordBatch:
        assert self._batch is not None
        head, self._batch = self._batch.slice(0, rows), self._batch.slice(rows)
        return head


def aligned(
    inputs: ReportInputs, files: Mapping[str, Sequence[str]], rows: int = BATCH_ROWS
) -> Iterator[pa.Table]:
    """Walk row-aligned files together: tables with the asked columns of all of them.

    Raises
    ------
    ReportError
        If the files differ in their number of rows.
    """
    cursors = {path: _Cursor(batches(inputs, path, names, rows)) for path, names in files.items()}
    while True:
        sizes = {path: cursor.available() for path, cursor in cursors.items()}
        step = min(sizes.values())
        if step == 0:
            if any(sizes.values()):
                raise ReportError(f"these files are not row-aligned: {sorted(files)}")
            return
        arrays, names = [], []
        for cursor in cursors.values():
            head = cursor.take(step)
            arrays.extend(head.columns)
            names.extend(head.schema.names)
        yield pa.Table.from_arrays(arrays, names=names)


def id_halves(column: Any) -> Any:
    """A ``binary(16)`` column as ``uint64[n, 2]``, ordered like the bytes; nulls as zeros."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
    filled = column.fill_null(b"\0" * 16) if column.null_count else column
    if len(filled) == 0:
        return np.zeros((0, 2), np.uint64)
    data = np.frombuffer(filled.buffers()[1], np.uint8)
    data = data[filled.offset * 16 : (filled.offset + len(filled)) * 16]
    return data.view(">u8").astype(np.uint64).reshape(-1, 2)


def id_hex(halves: Any) -> str:
    """The 32 hex digits of one id given as its two halves."""
    return f"{int(halves[0]):016x}{int(halves[1]):016x}"
