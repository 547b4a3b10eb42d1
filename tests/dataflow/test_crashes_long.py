"""Builds that are killed at random moments, whole or in part, end in the run of a quiet one."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import random
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from dataflow.build import build
from dataflow.locks import BuildError, only_builder, scratch_folder
from dataflow.run import Run
from dataflow.store import Store
from dataflow.tasks import Job, run_job
from tests.dataflow.corpora import write_corpus, write_recipe
from tests.dataflow.faulty_build import CRASHED, run_faulty
from tests.dataflow.run_tools import (
    check,
    contents,
    done_tasks,
    run_build,
    start_build,
    wait_until,
)

pytestmark = pytest.mark.long

GRACE = 20.0
"""Seconds in which the processes of a killed driver must be gone."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=500, seed=7)
    return write_recipe(folder)


@pytest.fixture(scope="module")
def quiet(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "quiet"
    build(recipe, str(out), show=False)
    check(out)
    return out


def _family(pid: int) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def _workers(pid: int) -> list[psutil.Process]:
    found = []
    for process in _family(pid):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command and command[0].startswith("ray::_Worker"):
            found.append(process)
    return found


def _working_or_done(process: subprocess.Popen[str]) -> bool:
    return len(_workers(process.pid)) == 2 or process.poll() == 0


def _is_agent(process: psutil.Process) -> bool:
    """Whether it is one of Ray's two agents a node: idle, they wait about a minute for the control
    service that died with the driver before they go."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return bool(command) and command[0] in ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def _records(run: Path) -> int:
    return sum(1 for _ in (run / "journal" / "records").rglob("*.json"))


def _recorded_or_done(process: subprocess.Popen[str], run: Path, enough: int) -> bool:
    return _records(run) >= enough or process.poll() is not None


def _all_gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        for process in processes
        if psutil.pid_exists(process.pid)
    )


def _same(run: Path, quiet: Path) -> None:
    loaded, other = check(run), Run.load(Store(str(quiet)))
    assert loaded.header == other.header
    assert contents(run) == contents(quiet)


def test_a_driver_killed_again_and_again(recipe: Path, quiet: Path, tmp_path: Path) -> None:
    generator = random.Random(11)
    out = tmp_path / "run"
    deaths = 0
    for attempt in range(60):
        # Every third goes on in one process, at once: orphans of the last may still be at work.
        workers = 0 if attempt % 3 == 2 else 2
        enough = _records(out) + generator.randint(0, 70)
        process = start_build(recipe, out, workers)
        if attempt % 4 == 3:
            time.sleep(generator.uniform(0.2, 4.0))
        else:
            wait_until(partial(_recorded_or_done, process, out, enough), 60)
            time.sleep(generator.uniform(0.0, 0.3))
        left = [p for p in _family(process.pid) if not _is_agent(p)]
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break
        deaths += 1
        if attempt % 3 == 0:
            assert wait_until(partial(_all_gone, left), GRACE)
    assert process.returncode == 0, "no attempt came to its end"
    assert deaths >= 5
    _same(out, quiet)


def test_workers_killed_while_the_build_goes_on(recipe: Path, quiet: Path, tmp_path: Path) -> None:
    generator = random.Random(5)
    out = tmp_path / "run"
    process = start_build(recipe, out, 2)
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.extend(process.communicate()))
    reader.start()
    killed = 0
    enough = 0
    while process.poll() is None and killed < 8:
        # Only once work went on since the last: a task may lose its worker four times and no more.
        wait_until(partial(_recorded_or_done, process, out, enough), 60)
        time.sleep(generator.uniform(0.0, 0.5))
        workers = _workers(process.pid)
        if workers and _records(out) >= enough:
            with contextlib.suppress(psutil.NoSuchProcess):
                generator.choice(workers).kill()
            killed += 1
            enough = _records(out) + generator.randint(5, 30)
        time.sleep(0.1)
    reader.join(timeout=300)
    assert process.returncode == 0, output
    assert killed >= 3
    assert "raylet" not in output[0]  # what Ray has to say is no part of the answer
    _same(out, quiet)


def test_a_driver_and_workers_killed_in_turn(recipe: Path, quiet: Path, tmp_path: Path) -> None:
    generator = random.Random(23)
    out = tmp_path / "run"
    for _ in range(4):
        process = start_build(recipe, out, 2)
        assert wait_until(partial(_working_or_done, process), 60)
        time.sleep(generator.uniform(0.2, 1.5))
        for worker in _workers(process.pid):
            worker.kill()
        time.sleep(generator.uniform(0.0, 1.5))
        process.kill()
        process.communicate()
    code, _, errors = run_build(recipe, out, workers=2)
    assert code == 0, errors
    _same(out, quiet)


@pytest.mark.parametrize("daemon", ["raylet", "gcs_server"])
def test_ray_itself_dies(recipe: Path, quiet: Path, tmp_path: Path, daemon: str) -> None:
    out = tmp_path / "run"
    process = start_build(recipe, out, 2)
    assert wait_until(lambda: done_tasks(out).get("read", 0) > 3, 60)
    family = [p for p in _family(process.pid) if not _is_agent(p)]
    (victim,) = [p for p in family if p.name() == daemon]
    victim.kill()
    _, errors = process.communicate(timeout=120)
    # Ray may have noticed nothing before the build was done.
    assert process.returncode != 0 or done_tasks(out)["lookup"] == 1
    assert process.returncode == 0 or errors.strip()
    assert wait_until(partial(_all_gone, family), GRACE)
    code, _, errors = run_build(recipe, out, workers=2)
    assert code == 0, errors
    _same(out, quiet)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupt_ends_the_build_and_says_how_to_go_on(
    recipe: Path, quiet: Path, tmp_path: Path, workers: int
) -> None:
    out = tmp_path / "run"
    process = start_build(recipe, out, workers)
    assert wait_until(lambda: done_tasks(out).get("read", 0) > 3, 60)
    family = [p for p in _family(process.pid) if not _is_agent(p)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted; the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert wait_until(lambda: _all_gone(family), GRACE)
    before = len(list((out / "journal" / "records").rglob("*.json")))
    assert before > 3
    code, output, errors = run_build(recipe, out, workers)
    assert code == 0, errors
    _same(out, quiet)
    executed = int(output.split(" tasks run")[0].rsplit(" ", 1)[1])
    assert executed <= len(list((quiet / "journal" / "records").rglob("*.json"))) - before


def test_a_crash_in_any_write_leaves_what_the_next_build_mends(tmp_path: Path) -> None:
    """A walk: builds of several recipes and retokenizings in one folder, nearly all cut short in a
    random write; now and then one comes to its end, and is the run of an untouched folder."""
    generator = random.Random(31)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.dataflow.faulty_build"])
    corpus = tmp_path / "corpus"
    write_corpus(corpus, documents=30, seed=2)
    plain = write_recipe(corpus, partition_bytes="32KiB").read_text()
    plain += "dedup: {near: {bands: 3, rows: 4}}\n"
    texts = [
        plain,
        plain.replace("min: 20", "min: 150"),
        plain.replace("shard_bytes: 64KiB", "shard_bytes: 8KiB"),
        plain.replace("vocab_size: 512", "vocab_size: 600"),
    ]
    recipes = [corpus / f"recipe{number}.yaml" for number in range(len(texts))]
    for recipe, text in zip(recipes, texts, strict=True):
        recipe.write_text(text)
        build(recipe, str(tmp_path / recipe.stem), show=False)
    tokenizer = next((tmp_path / recipes[3].stem / "tokenizer").iterdir())
    out = tmp_path / "run"
    crashes = 0
    for step in range(80):
        recipe = generator.choice(recipes)
        use = str(tokenizer) if generator.random() < 0.2 else None
        countdown = int(2 ** generator.uniform(0, 8))
        arguments = (str(recipe), str(out), countdown, generator.random() < 0.5, use)
        process = processes.Process(target=run_faulty, args=arguments)
        process.start()
        process.join(120)
        assert process.exitcode in (0, 1, CRASHED), arguments
        assert process.exitcode != 1 or use, "only a run that is not finished can be refused"
        crashes += process.exitcode == CRASHED
        if step % 6 == 5 or (process.exitcode == 0 and use is None):
            built = build(recipe, str(out), show=False)
            assert built.executed == 0 or process.exitcode != 0 or use
            _same(out, tmp_path / recipe.stem)
    assert crashes > 40


def test_a_new_build_waits_for_the_workers_of_a_dead_one(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with only_builder(store), scratch_folder(store) as left:
        pass
    with (tmp_path / "journal" / "workers").open("a") as orphan:
        fcntl.flock(orphan, fcntl.LOCK_SH)
        release = threading.Timer(1.0, lambda: fcntl.flock(orphan, fcntl.LOCK_UN))
        release.start()
        started = time.monotonic()
        with only_builder(store), scratch_folder(store) as scratch:
            assert time.monotonic() - started > 0.9
            assert Path(scratch).is_dir()
            assert scratch != left
        release.join()


def test_a_worker_of_a_dead_build_writes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    with only_builder(store), scratch_folder(store) as scratch:
        pass
    local = {"log": str(tmp_path / "log")}
    job = Job("tests.dataflow.toy_steps", "toy", "late", "0" * 32, {}, local, {}, store, scratch)
    with pytest.raises(BuildError, match="the build that this task belongs to has ended"):
        run_job(job)
    assert not (tmp_path / "log").exists()
