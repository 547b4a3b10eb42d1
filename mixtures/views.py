"""Which documents pass conditions on signals: one bit a document and view.

Signals lie row by row beside the documents that were read. A view is the conditions and dialects
of a component; those that several components share are decided once.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.external import Records
from dataflow.recipe.checks import SECTIONS
from dataflow.run import PartitionRecords, Run
from dataflow.signals import SIGNALS
from mixtures.errors import PlanRefused
from mixtures.rows import packed_rows, shard_starts, write_by_document
from mixtures.selection import Condition
from mixtures.spec import PlanSpec
from quality.dialects import DIALECTS
from quality.rules import Rule, failures

_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """Conditions on signals, all of which must hold, and rules that must not drop a document."""

    conditions: tuple[Condition, ...]
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, where: Sequence[str], dialects: Sequence[str]) -> View:
        """Of a component's fields."""
        rules = tuple(rule for name in dialects for rule in DIALECTS[name].rules)
        return cls(tuple(map(Condition.parse, where)), rules)

    @property
    def signals(self) -> tuple[str, ...]:
        """The columns it reads."""
        named = [c.signal for c in self.conditions] + [s for r in self.rules for s in r.columns]
        return tuple(dict.fromkeys(named))

    def passes(self, table: pa.Table) -> Bools:
        """Which rows of signals pass."""
        found = np.ones(table.num_rows, bool)
        for condition in self.conditions:
            found &= _holds(table[condition.signal], condition)
        if self.rules:
            found &= ~failures(table, self.rules).any(axis=1)
        return found


def _holds(column: pa.ChunkedArray, condition: Condition) -> Bools:
    """Where a number compares as the condition says; nowhere where there is none, or NaN."""
    array = column.combine_chunks()
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    # NumPy rounds a Python float to float32 beside a float32 column (NEP 50), and compares
    # integers in float64.
    found: Bools = _OPS[condition.op](values, condition.value)
    found &= array.is_valid().to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        found &= ~np.isnan(values)
    return found


def views_of(spec: PlanSpec) -> tuple[View, ...]:
    """The views of a plan's components, each once."""
    found = [View.of(c.where, c.dialects) for c in spec.components if c.by_signals]
    return tuple(dict.fromkeys(found))


def write_views(
    run: Run, views: Sequence[View], scratch: Path, memory_bytes: int
) -> npt.NDArray[np.uint8]:
    """Decide which documents pass which views.

    Memory: ``memory_bytes`` for each of two sorts, and the named signals of one partition. Disk:
    a byte a document for every eight views, and while it is written 25 bytes a document.

    Returns
    -------
    uint8 [documents, ceil(views / 8)], mapped: bit v % 8 of byte v // 8 is of view v

    Raises
    ------
    PlanRefused
        If a signal does not exist, was not measured in this run, or is no number.
    """
    measured = _check(run, views)
    documents = int(shard_starts(run)[-1])
    value = np.dtype(f"V{-(-len(views) // 8)}")
    kind = np.dtype([("document", "i8"), ("value", value)])
    found = write_by_document(
        _decided(run, views, measured, kind, scratch, memory_bytes),
        value,
        documents,
        bytes(value.itemsize),
        scratch,
        "views",
        memory_bytes,
    )
    return found.view(np.uint8).reshape(documents, value.itemsize)


def passed(bits: npt.NDArray[np.uint8], view: int) -> Bools:
    """Which of some rows of `write_views` pass a view."""
    found: Bools = (bits[:, view // 8] >> np.uint8(view % 8)) & 1 == 1
    return found


def _decided(
    run: Run,
    views: Sequence[View],
    measured: dict[str, pa.DataType],
    kind: np.dtype[np.void],
    scratch: Path,
    memory_bytes: int,
) -> Iterator[Records]:
    yield np.zeros(0, kind)
    placed = packed_rows(run, scratch, memory_bytes)
    for partition, (rows, numbers) in zip(run.partitions, placed, strict=True):
        if not len(rows):
            continue
        table = _signals(run, partition, measured).take(pa.array(rows))
        found = np.stack([view.passes(table) for view in views], axis=1)
        records = np.empty(len(rows), kind)
        records["document"] = numbers
        bits = np.packbits(found, axis=1, bitorder="little")
        records["value"] = np.ascontiguousarray(bits).view(kind["value"])[:, 0]
        yield records


def _signals(run: Run, partition: PartitionRecords, wanted: dict[str, pa.DataType]) -> pa.Table:
    """The named signals of a partition; nulls where it has none of one."""
    columns: dict[str, Any] = {}
    rows = 0
    for record, role in run.signals(partition):
        with run.store.open(record.outputs[role].path) as stream:
            file = pq.ParquetFile(stream)
            rows = file.metadata.num_rows
            there = [name for name in wanted if name in file.schema_arrow.names]
            table = file.read(there, use_threads=False)
        columns.update({name: table[name] for name in there})
    for name, kind in wanted.items():
        columns.setdefault(name, pa.nulls(rows, kind))
    return pa.table(columns)


def _measured(run: Run) -> dict[str, pa.DataType]:
    """The signals that any partition has. Those of one shape have the same: they are read once."""
    found: dict[str, pa.DataType] = {}
    seen: set[tuple[str, ...]] = set()
    for partition in run.partitions:
        files = run.signals(partition)
        shape = tuple(f"{record.step} {role}" for record, role in files)
        if shape in seen:
            continue
        seen.add(shape)
        for record, role in files:
            with run.store.open(record.outputs[role].path) as stream:
                found.update({field.name: field.type for field in pq.read_schema(stream)})
    return found


def _check(run: Run, views: Sequence[View]) -> dict[str, pa.DataType]:
    """The types of the signals that views name.

    Raises
    ------
    PlanRefused
        If one is not to be had, or is compared with a number and is none.
    """
    there, where = _measured(run), run.store.uri
    for view in views:
        for name in view.signals:
            if name in there:
                continue
            if name not in SIGNALS:
                near = difflib.get_close_matches(name, {**SIGNALS, **there}, 1)
                hint = f"; nearest is {near[0]!r}" if near else ""
                raise PlanRefused(
                    f"found signal {name!r}, expected one that `python -m quality signals` "
                    f"lists{hint}"
                )
            if SIGNALS[name].producer == "document":
                raise PlanRefused(
                    f"found a condition on {name!r}, which says where a document is from and is no "
                    "measured signal; choose documents by sources, languages, tiers or domains"
                )
            section = SECTIONS.get(SIGNALS[name].producer)
            if section is not None:
                raise PlanRefused(
                    f"{where}: signal {name!r} was not measured in this run; its recipe has no "
                    f"`{section}:`, which measures it; add that and build the run again"
                )
            raise PlanRefused(
                f"{where}: signal {name!r} was not measured in this run; add a rule that names it "
                f"to the recipe's `rules:` (`- {{signal: {name}, max: …}}`, with a bound that "
                "drops nothing if nothing is to be dropped) and build the run again"
            )
        for condition in view.conditions:
            kind = there[condition.signal]
            if not (
                pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            ):
                raise PlanRefused(
                    f"condition {str(condition)!r}: {condition.signal} is {kind}, expected a "
                    "signal that is a number; languages, tiers and domains have fields of their "
                    "own"
                )
    return {name: there[name] for view in views for name in view.signals}
