"""The runner runs what is missing and no more; the executors survive what they say they survive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow import executor, tasks
from dataflow.executor import MAX_ATTEMPTS, Executor, InProcess, RayPool, TaskFailed
from dataflow.journal import Journal
from dataflow.progress import Progress
from dataflow.runner import Runner
from dataflow.store import Store
from dataflow.tasks import Task


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.STEP_MODULES, "toy", "tests.dataflow.toy_steps")


def _task(folder: Path, name: str, value: int, *before: Task, **params: Any) -> Task:
    inputs = {"before": before} if before else {}
    local = {"log": str(folder / "log")}
    return Task("toy", name, {"value": value, **params}, inputs, local)


def _run(folder: Path, *targets: Task, executor: Executor | None = None) -> list[int]:
    store = Store(str(folder / "run"))
    progress = Progress(store, 1, show=False)
    (folder / "scratch").mkdir(exist_ok=True)
    runner = Runner(store, executor or InProcess(), progress, str(folder / "scratch"))
    try:
        return [record.stats["total"] for record in runner.run(targets)]
    finally:
        progress.close("done")


def _log(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().split() if log.exists() else []


def test_inputs_run_first_and_once(tmp_path: Path) -> None:
    a, b = _task(tmp_path, "a", 1), _task(tmp_path, "b", 2)
    c = _task(tmp_path, "c", 4, a, b)
    d = _task(tmp_path, "d", 8, c, a)
    assert _run(tmp_path, d, c) == [16, 7]
    log = _log(tmp_path)
    assert sorted(log) == ["a", "b", "c", "d"]
    assert log.index("c") > max(log.index("a"), log.index("b"))
    assert _run(tmp_path, d, c) == [16, 7]
    assert _log(tmp_path) == log


def test_a_changed_parameter_runs_what_follows_and_no_more(tmp_path: Path) -> None:
    a = _task(tmp_path, "a", 1)
    _run(tmp_path, _task(tmp_path, "c", 4, a, _task(tmp_path, "b", 2)))
    assert _run(tmp_path, _task(tmp_path, "c", 4, a, _task(tmp_path, "b", 3))) == [8]
    assert _log(tmp_path)[3:] == ["b", "c"]


def test_what_was_deleted_is_made_again(tmp_path: Path) -> None:
    a = _task(tmp_path, "a", 1)
    b = _task(tmp_path, "b", 2, a)
    _run(tmp_path, b)
    store = Store(str(tmp_path / "run"))
    record = Journal(store).get(b.key)
    assert record is not None
    store.delete(record.outputs["number"].path)
    assert _run(tmp_path, b) == [3]
    assert _log(tmp_path)[2:] == ["b"]
    assert store.read(record.outputs["number"].path) == b"3"


def test_temporary_outputs_are_made_again_only_for_those_who_need_them(tmp_path: Path) -> None:
    a = _task(tmp_path, "a", 1, temporary=True)
    b = _task(tmp_path, "b", 2, a)
    _run(tmp_path, b)
    store = Store(str(tmp_path / "run"))
    record = Journal(store).get(a.key)
    assert record is not None
    store.delete(record.outputs["number"].path)
    assert _run(tmp_path, a, b) == [1, 3]
    assert len(_log(tmp_path)) == 2
    assert _run(tmp_path, _task(tmp_path, "c", 5, a)) == [6]
    assert _log(tmp_path)[2:] == ["a", "c"]


def test_a_failure_names_its_task_and_keeps_what_is_done(tmp_path: Path) -> None:
    a = _task(tmp_path, "a", 1)
    bad = _task(tmp_path, "bad", 1, a, fail=True)
    with pytest.raises(TaskFailed, match="toy bad: RuntimeError: asked to fail"):
        _run(tmp_path, bad)
    assert _run(tmp_path, a) == [1]
    assert _log(tmp_path) == ["a", "bad"]


def test_a_key_knows_code_parameters_and_inputs_and_not_places(tmp_path: Path) -> None:
    a = _task(tmp_path, "a", 1)
    assert a.key == _task(tmp_path / "elsewhere", "a", 1).key
    assert a.key != _task(tmp_path, "a", 2).key
    assert a.key != _task(tmp_path, "b", 1).key
    assert _task(tmp_path, "c", 1, a).key != _task(tmp_path, "c", 1).key


def test_ray_workers_die_and_the_work_goes_on(tmp_path: Path) -> None:
    pool = RayPool(2)
    try:
        log = str(tmp_path / "log")
        killed = Task(
            "toy", "k", {"value": 1}, local={"log": log, "kill_once": str(tmp_path / "killed")}
        )
        fine = [_task(tmp_path, f"f{i}", i) for i in range(4)]
        total = _task(tmp_path, "total", 0, killed, *fine)
        assert _run(tmp_path, total, executor=pool) == [7]
        assert sorted(_log(tmp_path)) == ["f0", "f1", "f2", "f3", "k", "k", "total"]
        with pytest.raises(TaskFailed, match="toy bad: RuntimeError"):
            _run(tmp_path, _task(tmp_path, "bad", 0, fail=True), executor=pool)
        poison = Task("toy", "p", {"value": 1}, local={"log": log, "always_kill": True})
        with pytest.raises(TaskFailed, match=f"toy p: its worker died {MAX_ATTEMPTS} times"):
            _run(tmp_path, poison, executor=pool)
        assert _log(tmp_path).count("p") == MAX_ATTEMPTS
    finally:
        pool.close()


def test_the_death_of_ray_is_an_error_and_no_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "HEALTH_SECONDS", 0.5)
    pool = RayPool(1)
    try:
        (raylet,) = (process for name, process in pool._daemons if name == "raylet")
        raylet.kill()
        raylet.wait()
        with pytest.raises(TaskFailed, match="raylet died while it ran; the same command goes on"):
            _run(tmp_path, _task(tmp_path, "a", 1), executor=pool)
    finally:
        pool.close()
