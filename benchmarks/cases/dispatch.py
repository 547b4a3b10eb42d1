"""How many tasks of paths alone the pool of Ray actors starts and ends; Ray Data beside it.

Each side has a cluster of its own in turn, with as many workers. A rate is the results after the
first, divided by the seconds from the first to the last, so that start-up is not in it. Every task
of the pool goes through ``run_job`` and commits a record to a journal; Ray Data commits nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3

from benchmarks.harness import Options, Peer, Report
from benchmarks.memory_of import tree_pss
from dataflow.executor import Executor, RayPool
from dataflow.journal import Journal, Output, Record
from dataflow.store import Store
from dataflow.tasks import Job, Step, StepContext

TASKS, QUICK_TASKS = 1000, 100
WORKERS = 2
FILE_BYTES = 200
EMPTY, COPY = "empty task", f"file of {FILE_BYTES} bytes copied"
ONE_EACH = {"actors": "an actor's call a path", "tasks": "a task a path"}
GROUPED = {"groups": "an actor's call for a group of paths"}
"""Ray Data's configurations by their names in its program. In ``GROUPED`` a result is known only
when the whole group is done, which a build cannot use: it stands there to be seen."""


def _copy(context: StepContext) -> dict[str, Any]:
    """Copy the one input file; without an input, do nothing."""
    for record in context.job.inputs.get("before", []):
        data = context.store.read(record.outputs["file"].path)
        with context.create("file", context.path("out", "bin"), kind="work") as sink:
            sink.write(data)
    return {}


STEP = Step("dispatch", _copy)


@dataclass(frozen=True)
class Turn:
    """One start of one side: seconds to the first result, tasks/s by work, bytes of PSS after."""

    start: float
    rates: Mapping[str, float]
    pss: int


def run(report: Report, options: Options) -> None:
    """Take turns with every configuration of Ray Data; compare with the best of them."""
    count = options.size(TASKS, QUICK_TASKS)
    report.add("input: tasks that carry paths alone", count, "tasks")
    # The driver's imports are in no start-up, on neither side.
    importlib.import_module("ray")
    theirs = {**ONE_EACH, **GROUPED}
    ours: list[Turn] = []
    turns: dict[str, list[Turn]] = {name: [] for name in theirs}
    version = ""
    for _ in range(options.repeats):
        # Ours first: the pool sets Ray's environment (no usage statistics, no export of metrics),
        # and the peer inherits it.
        ours.append(_our_turn(options.scratch / "dispatch", count))
        for name, found in turns.items():
            turn, version = _their_turn(options.scratch / "dispatch", count, name)
            found.append(turn)
    labels = {name: f"Ray Data {version}, {what}" for name, what in theirs.items()}
    for what in (EMPTY, COPY):
        _rates(report, what, ours, turns, labels)
    starts = {name: statistics.median(t.start for t in found) for name, found in turns.items()}
    _least(report, "first task done after", "s", [t.start for t in ours], starts, labels)
    pss = {name: statistics.median(t.pss / 1e6 for t in found) for name, found in turns.items()}
    metric = "PSS of the process tree after the tasks"
    _least(report, metric, "MB", [t.pss / 1e6 for t in ours], pss, labels)


def _rates(
    report: Report,
    what: str,
    ours: Sequence[Turn],
    turns: Mapping[str, Sequence[Turn]],
    labels: Mapping[str, str],
) -> None:
    rate = statistics.median(turn.rates[what] for turn in ours)
    theirs = {n: statistics.median(t.rates[what] for t in found) for n, found in turns.items()}
    best = max(ONE_EACH, key=lambda name: theirs[name])
    for name in (best, *GROUPED):
        report.add(what, rate, "tasks/s", peer=labels[name], ratio=rate / theirs[name])
    for name, found in theirs.items():
        report.add(f"{what}: {labels[name]}", found, "tasks/s")


def _least(
    report: Report,
    metric: str,
    unit: str,
    ours: Sequence[float],
    theirs: Mapping[str, float],
    labels: Mapping[str, str],
) -> None:
    """Compare with the configuration of Ray Data that needs least."""
    value = statistics.median(ours)
    best = min(theirs, key=lambda name: theirs[name])
    report.add(metric, value, unit, peer=labels[best], ratio=value / theirs[best])
    for name, found in theirs.items():
        report.add(f"{metric}: {labels[name]}", found, unit)


def make_inputs(folder: Path, count: int) -> Path:
    """An empty ``folder`` with ``in``, which holds ``count`` small files, and ``out``."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    for number in range(count):
        (folder / "in" / f"part-{number:06d}").write_bytes(_content(number))
    return folder


def _content(number: int) -> bytes:
    return number.to_bytes(8, "little") * (FILE_BYTES // 8)


def check_copies(folder: Path, count: int) -> None:
    """Raise if ``out`` does not hold a copy of each file, whatever their names."""
    found = sorted(path.read_bytes() for path in (folder / "out").iterdir())
    if found != sorted(_content(number) for number in range(count)):
        raise RuntimeError(f"{folder}/out: {len(found)} files, not the {count} that were copied")


def make_jobs(folder: Path, count: int, *, copy: bool) -> list[Job]:
    """Jobs as a build makes them, in the run folder ``folder`` that ``make_inputs`` has made.

    Workers import this module for its ``STEP``; each job of ``copy`` has one input.
    """
    (folder / "journal").mkdir(exist_ok=True)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    store = Store(str(folder))
    jobs = []
    for number in range(count):
        name = f"part-{number:06d}"
        inputs = {}
        if copy:
            digest = blake3.blake3(_content(number)).hexdigest()
            output = Output(f"in/{name}", "work", FILE_BYTES, digest)
            inputs["before"] = [Record(_key("before", name), "read", name, {"file": output})]
        jobs.append(
            Job(
                __name__,
                STEP.name,
                name,
                _key("dispatch", name),
                {},
                {},
                inputs,
                store,
                str(scratch),
            )
        )
    return jobs


def _key(*words: str) -> str:
    """32 hex digits, spread as those of tasks are."""
    return hashlib.blake2s("/".join(words).encode()).hexdigest()[:32]


def results(executor: Executor, jobs: Sequence[Job]) -> list[float]:
    """Run all jobs as the runner of a build does; the moments when each record was here.

    Raises
    ------
    RuntimeError
        If a job's record is missing, doubled, or not in the journal.
    """
    waiting = list(reversed(jobs))
    moments: list[float] = []
    keys: list[str] = []
    while len(keys) < len(jobs):
        while waiting and executor.free:
            executor.submit(waiting.pop())
        for _, record in executor.wait():
            moments.append(time.perf_counter())
            keys.append(record.key)
    journal = Journal(jobs[0].store)
    if sorted(keys) != sorted(job.key for job in jobs) or not all(map(journal.get, keys)):
        raise RuntimeError(f"{len(keys)} results of {len(jobs)} tasks, not one for each")
    return moments


def _our_turn(place: Path, count: int) -> Turn:
    warm = make_jobs(make_inputs(place / "warm", 0), WORKERS, copy=False)
    empty = make_jobs(make_inputs(place / "empty", 0), count, copy=False)
    copies = make_jobs(make_inputs(place / "copy", count), count, copy=True)
    begun = time.perf_counter()
    pool = RayPool(WORKERS)
    try:
        start = results(pool, warm)[0] - begun
        rates = {}
        for what, jobs in ((EMPTY, empty), (COPY, copies)):
            moments = results(pool, jobs)
            rates[what] = (count - 1) / (moments[-1] - moments[0])
        pss = tree_pss(os.getpid())
    finally:
        pool.close()
    check_copies(place / "copy", count)
    return Turn(start, rates, pss)


def _their_turn(place: Path, count: int, name: str) -> tuple[Turn, str]:
    """A turn of one configuration of Ray Data, and its version."""
    folder = make_inputs(place / "copy", count)
    setting: dict[str, Any] = {"configuration": name, "workers": WORKERS}
    with Peer("ray_data") as peer:
        started = peer.ask(do="start", **setting)
        rates = {}
        for what, where in ((EMPTY, ""), (COPY, str(folder))):
            reply = peer.ask(do="dispatch", folder=where, count=count, **setting)
            rates[what] = reply["items"] / reply["seconds"]
        pss = int(peer.ask(do="pss")["bytes"])
        peer.ask(do="stop")
    check_copies(folder, count)
    return Turn(float(started["seconds"]), rates, pss), str(started["version"])
