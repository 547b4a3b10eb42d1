"""A built run, opened for reading: which files hold which table, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.journal import Journal, Record
from dataflow.parquet import read_table, row_groups
from dataflow.steps.signals import signals_role
from dataflow.store import Store
from dataflow.tables import TABLES, upgrade

RUN_FILE = "journal/run.json"
FORMAT = 1


class RunError(Exception):
    """A folder is not a finished run, or not one that this version reads."""


@dataclass(frozen=True)
class PartitionRecords:
    """The records of one partition: its name, source, and one record a step.

    ``images`` is there where the partition has any, or a rule names their signals;
    ``image_reward`` and ``reward`` where the recipe asks for them.
    """

    name: str
    source: str
    read: Record
    scan: Record
    language: Record
    settle: Record
    images: Record | None = None
    image_reward: Record | None = None
    reward: Record | None = None

    @property
    def records(self) -> list[Record]:
        """All of them."""
        found = [self.read, self.scan, self.language, self.settle]
        others = (self.images, self.image_reward, self.reward)
        return [*found, *(record for record in others if record is not None)]


@dataclass(frozen=True)
class ShardRecords:
    """The records of one shard; ``tier`` in a run with tiers."""

    name: str
    pack: Record
    tokenize: Record
    tier: Record | None = None

    @property
    def index(self) -> Record:
        """The record whose output ``index`` is the run's, with tiers where there are any."""
        return self.tokenize if self.tier is None else self.tier

    @property
    def records(self) -> list[Record]:
        """All of them."""
        found = [self.pack, self.tokenize]
        return found if self.tier is None else [*found, self.tier]


@dataclass(frozen=True)
class Run:
    """A finished run.

    ``header`` is ``journal/run.json``: ``name``, ``logical_root``, ``file_root``, and keys.
    """

    store: Store
    header: dict[str, Any]
    partitions: list[PartitionRecords]
    shards: list[ShardRecords]
    tokenizer: Record
    lookup: Record
    energon: list[Record]
    repetition: Record | None = None
    """Where the run has images, or a rule names the signals."""
    categories: Record | None = None
    """Where texts are scored."""
    grade: Record | None = None
    """Where the run has tiers."""

    @classmethod
    def load(cls, store: Store) -> Run:
        """Open a run folder.

        Raises
        ------
        RunError
            If there is none, its build has not finished, or its format is another.
        """
        try:
            header = orjson.loads(store.read(RUN_FILE))
        except FileNotFoundError:
            raise RunError(
                f"{store.uri}: found no {RUN_FILE}, expected a finished run; "
                f"run `python -m dataflow build RECIPE --out {store.uri}`"
            ) from None
        except orjson.JSONDecodeError as error:
            raise RunError(
                f"{store.uri}: {RUN_FILE} is damaged ({error}); run the build again, it makes what "
                "is missing"
            ) from None
        if header["format"] != FORMAT:
            raise RunError(
                f"{store.uri}: found run format {header['format']}, expected {FORMAT}; "
                "build it again with this version"
            )
        journal = Journal(store)

        def record(key: str) -> Record:
            found = journal.get(key)
            if found is None:
                raise RunError(
                    f"{store.uri}: the journal has no record {key} that the run names; "
                    "run the build again, it makes what is missing"
                )
            return found

        partitions = [
            PartitionRecords(
                p["name"],
                p["source"],
                record(p["read"]),
                record(p["scan"]),
                record(p["language"]),
                record(p["settle"]),
                record(p["images"]) if "images" in p else None,
                record(p["image_reward"]) if "image_reward" in p else None,
                record(p["reward"]) if "reward" in p else None,
            )
            for p in header["partitions"]
        ]
        shards = [
            ShardRecords(
                s["name"],
                record(s["pack"]),
                record(s["tokenize"]),
                record(s["tier"]) if "tier" in s else None,
            )
            for s in header["shards"]
        ]
        tokenizer, lookup = record(header["tokenizer"]), record(header["lookup"])
        energon = [record(key) for key in header["energon"]]
        others = (
            record(header[name]) if name in header else None
            for name in ("repetition", "categories", "grade")
        )
        return cls(store, header, partitions, shards, tokenizer, lookup, energon, *others)

    def signals(self, partition: PartitionRecords) -> list[tuple[Record, str]]:
        """Record and role of each file of signals that is row-aligned with a partition."""
        found = [(partition.scan, "signals"), (partition.language, "signals")]
        for record in (partition.images, partition.image_reward, partition.reward):
            if record is not None:
                found.append((record, "signals"))
        role = signals_role(partition.name)
        if self.repetition is not None and role in self.repetition.outputs:
            found.append((self.repetition, role))
        return found

    def table(self, record: Record, role: str, columns: list[str] | None = None) -> pa.Table:
        """One table file: the named columns, or all those of its table's present version."""
        table = read_table(self.store, record.outputs[role].path, columns)
        return _present(table, role) if columns is None else table

    def groups(
        self, record: Record, role: str, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """One table file as ``table`` gives it, row group by row group."""
        for table in row_groups(self.store, record.outputs[role].path, columns):
            yield _present(table, role) if columns is None else table

    def row(self, record: Record, role: str, row: int) -> dict[str, Any]:
        """One row of a table file as a mapping, reading one row group."""
        with self.store.open(record.outputs[role].path) as stream:
            file = pq.ParquetFile(stream)
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < rows:
                    table = _present(file.read_row_group(group, use_threads=False), role)
                    values: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
                    return values
                row -= rows
        raise RunError(f"{record.outputs[role].path}: has no row {row}")


def _present(table: pa.Table, role: str) -> pa.Table:
    """``table`` with the columns of its table's present version."""
    declared = TABLES.get(role)
    return table if declared is None else upgrade(table, declared)
