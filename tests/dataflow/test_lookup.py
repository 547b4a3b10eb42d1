"""The side index of a run, entry for entry, in whatever memory it is sorted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest

from dataflow import external
from dataflow.ids import uri_key
from dataflow.journal import Record
from dataflow.steps.columns import id_array
from dataflow.steps.lookup import ABSENT, ENTRY, STEP, URI_ENTRY, DuplicateIds
from dataflow.store import Store
from dataflow.tasks import Job, StepContext

IDS = np.random.default_rng(8).integers(0, 256, (90, 16), dtype=np.uint8)
IDS[1::2, :8] = IDS[::2, :8]  # pairs that agree in their first half
PARTITIONS = np.split(np.arange(90), [40, 41])
SHARDS = np.split(np.random.default_rng(9).permutation(90)[:60], [25, 25])


def _record(folder: Path, role: str, number: int, table: pa.Table) -> Record:
    job = Job("", role, f"{role}{number}", f"{number:032x}", {}, {}, {}, Store(str(folder)), "")
    context = StepContext(job)
    with context.create_table(role, role, table.schema, kind=role) as sink:
        sink.write(table)
    return Record(job.key, role, job.name, context.outputs)


def _uri(i: int) -> str:
    return f"file-{i // 2}"  # two documents a file


def _context(folder: Path, ids: np.ndarray, memory: int) -> StepContext:
    inputs: dict[str, list[Record]] = {"documents": [], "index": []}
    for number, rows in enumerate(PARTITIONS):
        urls = [orjson.dumps({"url": f"http://{i}"}).decode() if i % 3 else None for i in rows]
        table = pa.table(
            {
                "doc_id": id_array(ids[rows]),
                "uri": [_uri(i) for i in rows],
                "metadata": pa.array(urls, pa.string()),
            }
        )
        inputs["documents"].append(_record(folder, "documents", number, table))
    for number, rows in enumerate(SHARDS):
        table = pa.table({"doc_id": id_array(ids[rows])})
        inputs["index"].append(_record(folder, "index", number, table))
    scratch = str(folder / "scratch")
    local = {"memory_bytes": memory}
    store = Store(str(folder))
    return StepContext(Job("", "lookup", "all", "f" * 32, {}, local, inputs, store, scratch))


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_entries_are_those_of_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(external, "LEAST_RUN", 4)
    context = _context(tmp_path, IDS, memory)
    stats = STEP.run(context)
    places = {int(i): (part, row) for part, rows in enumerate(SHARDS) for row, i in enumerate(rows)}
    expected = sorted(
        (IDS[i].tobytes(), number, row, *places.get(int(i), (ABSENT, ABSENT)))
        for number, rows in enumerate(PARTITIONS)
        for row, i in enumerate(rows)
    )
    entries = np.frombuffer(context.store.read(context.outputs["documents"].path), ENTRY)
    numbers = ("partition", "row", "part", "part_row")
    found = [(e["key"].tobytes(), *(int(e[n]) for n in numbers)) for e in entries]
    assert found == expected
    names = sorted(
        [(uri_key(_uri(i)), IDS[i].tobytes()) for i in range(90)]
        + [(uri_key(f"http://{i}"), IDS[i].tobytes()) for i in range(90) if i % 3]
    )
    uris = np.frombuffer(context.store.read(context.outputs["uris"].path), URI_ENTRY)
    assert [(e["key"].tobytes(), e["doc"].tobytes()) for e in uris] == names
    assert stats == {"documents": 90, "uris": len(names)}


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_an_id_that_two_documents_have_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(external, "LEAST_RUN", 4)
    ids = IDS.copy()
    ids[50], ids[70], ids[71] = ids[2], ids[3], ids[3]
    least = min(ids[2].tobytes(), ids[3].tobytes()).hex()
    with pytest.raises(DuplicateIds, match=f"3 documents .* {least} among them"):
        STEP.run(_context(tmp_path, ids, memory))


def test_an_index_of_other_documents_is_an_error(tmp_path: Path) -> None:
    context = _context(tmp_path, IDS, 1 << 20)
    context.job.inputs["documents"].pop()
    with pytest.raises(ValueError, match="that no partition has"):
        STEP.run(context)
