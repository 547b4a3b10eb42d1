"""Columns over all documents: what is written is read, in ranges and here and there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataflow import arrays
from dataflow.arrays import ID, ColumnSet, windows
from dataflow.journal import Record
from dataflow.store import Store
from dataflow.tasks import Job, StepContext

COLUMNS = ColumnSet("things", {"id": ID, "number": np.dtype(np.uint32), "x": np.dtype("f8")})
ROWS = 5000


def _context(uri: str, folder: Path) -> StepContext:
    store = Store(uri)
    return StepContext(Job("", "toy", "all", "0" * 32, {}, {}, {}, store, str(folder / "scratch")))


@pytest.fixture(params=["local", "remote"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> StepContext:
    """A store whose files are mapped, and one that is reached as an object store is."""
    run = tmp_path / "run"
    return _context(str(run) if request.param == "local" else run.as_uri(), tmp_path)


def _values() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "id": random.integers(0, 256, (ROWS, 16), dtype=np.uint8),
        "number": random.permutation(ROWS).astype(np.uint32),
        "x": random.random(ROWS),
    }


def _written(context: StepContext, values: dict[str, np.ndarray]) -> Record:
    with COLUMNS.create(context) as out:
        for start in range(0, ROWS, 1200):
            out.add(**{name: array[start : start + 1200] for name, array in values.items()})
    assert all(output.temporary for output in context.outputs.values())
    return Record("0" * 32, "toy", "all", context.outputs)


def test_ranges_and_places(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "WINDOW_BYTES", 4096)  # several windows a column
    values = _values()
    columns = COLUMNS.open(context, _written(context, values))
    assert len(columns) == ROWS
    places = np.random.default_rng(1).integers(0, ROWS, 700).astype(np.uint32)
    for name, array in values.items():
        assert np.array_equal(columns.read(name), array)
        assert np.array_equal(columns.read(name, 17, 17), array[:0])
        assert np.array_equal(columns.read(name, 1199, 2401), array[1199:2401])
        assert np.array_equal(columns.take(name, places), array[places])
        assert columns.take(name, places).dtype == array.dtype
        assert np.array_equal(columns.take(name, places[:0]), array[:0])
        assert np.array_equal(columns.take(name, np.array([ROWS - 1])), array[-1:])


def test_rows_that_are_not_there_are_an_error(context: StepContext) -> None:
    columns = COLUMNS.open(context, _written(context, _values()))
    with pytest.raises(ValueError, match="expected 2 rows"):
        columns.read("number", ROWS - 1, ROWS + 1)


def test_columns_of_different_lengths_or_names_are_refused(context: StepContext) -> None:
    values = _values()
    with COLUMNS.create(context) as out:
        with pytest.raises(ValueError, match="of one length"):
            out.add(**{**values, "x": values["x"][1:]})
        with pytest.raises(ValueError, match=r"expected \["):
            out.add(id=values["id"], number=values["number"])


def test_windows_cover_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "WINDOW_ROWS", 4)
    assert list(windows(10)) == [(0, 4), (4, 8), (8, 10)]
    assert list(windows(8)) == [(0, 4), (4, 8)]
    assert list(windows(0)) == []
