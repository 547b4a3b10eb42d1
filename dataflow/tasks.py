"""Steps and tasks: a task is one step applied to one partition, named by a content-addressed key.

A task's key is the hash of its step's code, its parameters and its inputs' keys. Two tasks with one
key write the same bytes, so whoever runs it, wherever and however often, the outcome is the same.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import blake3
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.code import code_digest
from dataflow.journal import Journal, Output, Record
from dataflow.locks import working
from dataflow.parquet import open_writer, read_table, row_groups
from dataflow.store import HashingWriter, Store
from dataflow.tables import Table


@dataclass(frozen=True)
class Step:
    """A step of the build: its name, and a function of a context that returns counts (JSON)."""

    name: str
    run: Callable[[StepContext], dict[str, Any]]

    @property
    def code_digest(self) -> str:
        """Hash of all code that ``run`` depends on."""
        return code_digest(self.run.__module__)


@dataclass(frozen=True)
class Task:
    """One unit of work. ``params`` are JSON values; all of them shape the output.

    ``local`` says where things lie on this machine, and never enters the key; ``work_bytes`` only
    guides progress and the order of execution.
    """

    step: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=dict)
    work_bytes: int = 0

    @functools.cached_property
    def key(self) -> str:
        """32 hex digits."""
        description = {
            "step": self.step,
            "name": self.name,
            "code": find_step(self.step).code_digest,
            "params": dict(self.params),
            "inputs": {role: [t.key for t in tasks] for role, tasks in self.inputs.items()},
        }
        encoded = orjson.dumps(description, option=orjson.OPT_SORT_KEYS)
        return str(blake3.blake3(encoded).hexdigest()[:32])

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.key == other.key


@dataclass(frozen=True, eq=False)
class FinishedTask(Task):
    """A task of an earlier build, known by its record only: an input, never run again."""

    record: Record = field(kw_only=True)

    @property
    def key(self) -> str:
        return self.record.key


def finished(record: Record) -> FinishedTask:
    """The finished task that left ``record``."""
    return FinishedTask(record.step, record.name, record=record)


@dataclass(frozen=True)
class Job:
    """What travels to a worker: a task's key and parameters and its inputs' records. No text."""

    module: str
    step: str
    name: str
    key: str
    params: dict[str, Any]
    local: dict[str, Any]
    inputs: dict[str, list[Record]]
    store: Store
    scratch: str


class StepContext:
    """What a step's function sees: its inputs' records, its parameters, and ways to write."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.store = job.store
        self.params = job.params
        self.local = job.local
        self.name = job.name
        self.outputs: dict[str, Output] = {}

    def input(self, role: str) -> Record:
        """The only record of a role."""
        (record,) = self.job.inputs[role]
        return record

    def inputs(self, role: str) -> Sequence[Record]:
        """The records of a role, in the order in which the task names them."""
        return self.job.inputs[role]

    @property
    def scratch(self) -> Path:
        """A local folder for temporary files of this task, made when first asked for."""
        folder = Path(self.job.scratch) / f"{self.job.step}-{self.job.key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_scratch(self) -> None:
        """Remove the task's scratch folder, if it made one."""
        shutil.rmtree(
            Path(self.job.scratch) / f"{self.job.step}-{self.job.key}", ignore_errors=True
        )

    def path(self, folder: str, suffix: str, name: str | None = None) -> str:
        """The content-addressed path of an output: ``folder/NAME-KEY.suffix``.

        The name is the task's, unless it writes for several others.
        """
        return f"{folder}/{name or self.name}-{self.job.key[:16]}.{suffix}"

    @contextlib.contextmanager
    def create(
        self, role: str, path: str, *, kind: str, temporary: bool = False
    ) -> Iterator[HashingWriter]:
        """Open an output file; it is registered under ``role`` when the block ends well."""
        with self.store.create(path) as sink:
            yield sink
        self.outputs[role] = Output(path, kind, sink.bytes, sink.digest, temporary=temporary)

    def adopt(self, role: str, file: Path) -> None:
        """Make a local scratch file a temporary output of the task."""
        path = self.path(f"work/{self.job.step}", role)
        with (
            self.create(role, path, kind="work", temporary=True) as sink,
            file.open("rb") as source,
        ):
            shutil.copyfileobj(source, sink, 1 << 20)

    def local_path(self, record: Record, role: str) -> Path:
        """An input file as a local path: where it is, or a copy in scratch if it is remote."""
        output = record.outputs[role]
        if self.store.local is not None:
            return self.store.local / output.path
        copy = self.scratch / Path(output.path).name
        with self.store.open(output.path) as source, copy.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        return copy

    def write_arrays(self, role: str, arrays: Mapping[str, Any]) -> None:
        """Write equally long NumPy arrays (or Arrow arrays) as one temporary Arrow IPC file.

        It is uncompressed and of one batch, so that ``read_arrays`` can map it.
        """
        batch = pa.record_batch({name: pa.array(values) for name, values in arrays.items()})
        path = self.path(f"work/{self.job.step}", f"{role}.arrow")
        with self.store.create(path) as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        self.outputs[role] = Output(
            path, "work", sink.bytes, sink.digest, rows=batch.num_rows, temporary=True
        )

    def read_arrays(self, record: Record, role: str) -> pa.RecordBatch:
        """The batch that ``write_arrays`` wrote; mapped, not read, where the store is local."""
        stream = self.store.map(record.outputs[role].path)
        return pa.ipc.open_file(stream).get_batch(0)

    @contextlib.contextmanager
    def create_table(
        self,
        role: str,
        folder: str,
        schema: pa.Schema | Table,
        *,
        kind: str,
        temporary: bool = False,
        name: str | None = None,
    ) -> Iterator[TableSink]:
        """Open a Parquet output for row groups of a declared table (or of a plain schema)."""
        path = self.path(folder, "parquet", name)
        tagged = schema.tagged if isinstance(schema, Table) else schema
        with (
            self.store.create(path) as sink,
            open_writer(sink, tagged) as writer,
        ):
            table_sink = TableSink(writer, tagged)
            yield table_sink
        self.outputs[role] = Output(
            path, kind, sink.bytes, sink.digest, rows=table_sink.rows, temporary=temporary
        )

    def read_table(self, record: Record, role: str, columns: list[str] | None = None) -> pa.Table:
        """Read one output of an input as a whole table."""
        return read_table(self.store, record.outputs[role].path, columns)

    def read_groups(
        self, record: Record, role: str, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """Read one output of an input row group by row group."""
        yield from row_groups(self.store, record.outputs[role].path, columns)


class TableSink:
    """Writes tables as row groups and counts rows."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Append ``table`` as one row group."""
        if table.num_rows == 0:
            return
        table = table.cast(self._schema.remove_metadata())
        self._writer.write_table(
            table.replace_schema_metadata(self._schema.metadata), row_group_size=table.num_rows
        )
        self.rows += table.num_rows


STEP_MODULES = {
    "read": "dataflow.steps.read",
    "scan": "dataflow.steps.scan",
    "language": "dataflow.steps.language",
    "reward": "dataflow.steps.reward",
    "images": "dataflow.steps.images",
    "alike": "dataflow.steps.alike",
    "repetition": "dataflow.steps.repetition",
    "caption_words": "dataflow.steps.caption_words",
    "image_reward": "dataflow.steps.image_reward",
    "decide": "dataflow.steps.decide",
    "categories": "dataflow.steps.categories",
    "order": "dataflow.steps.order",
    "buckets": "dataflow.steps.buckets",
    "candidates": "dataflow.steps.candidates",
    "shingles": "dataflow.steps.shingles",
    "near": "dataflow.steps.near",
    "split": "dataflow.steps.split",
    "settle": "dataflow.steps.settle",
    "pack": "dataflow.steps.pack",
    "tokenizer": "dataflow.steps.tokenizer",
    "tokenize": "dataflow.steps.tokenize",
    "energon": "dataflow.steps.energon",
    "lookup": "dataflow.steps.lookup",
    "grade": "dataflow.steps.grade",
    "tier": "dataflow.steps.tier",
}
"""In the order of the data's way. A step's module holds ``STEP``."""


@functools.cache
def find_step(name: str) -> Step:
    """The step of that name."""
    return load_step(STEP_MODULES[name])


def load_step(module: str) -> Step:
    """The step that a module holds as ``STEP``."""
    step = importlib.import_module(module).STEP
    if not isinstance(step, Step):
        raise TypeError(f"{module}.STEP is {type(step).__name__}, expected Step")
    return step


def run_job(job: Job) -> Record:
    """Run one task in this process and commit it to the journal of its run folder."""
    context = StepContext(job)
    before = time.perf_counter(), time.process_time()
    with working(job.store, job.scratch):
        try:
            stats = load_step(job.module).run(context)
        finally:
            context.clear_scratch()
        cost = {
            "seconds": time.perf_counter() - before[0],
            "cpu_seconds": time.process_time() - before[1],
            "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        record = Record(job.key, job.step, job.name, context.outputs, stats, cost)
        return Journal(job.store).commit(record)
