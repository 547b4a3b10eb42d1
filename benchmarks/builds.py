"""Builds as a user starts them, `python -m dataflow build`, timed, watched and killed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from benchmarks.harness import ROOT
from benchmarks.memory_of import PssSampler
from dataflow.journal import Record

Victim = Literal["driver", "worker"]

LIMIT_SECONDS = 3600
"""A build that takes longer hangs."""

ATTEMPTS = 4
"""How often a build that outran its killers is begun again."""


class BuildError(RuntimeError):
    """A build ended with a status other than 0; the message holds the end of what it said."""


@dataclass(frozen=True)
class Build:
    """A finished build: wall seconds, and the largest PSS of its process tree in bytes."""

    run: Path
    seconds: float
    peak_pss: int


@dataclass
class StepCost:
    """What the tasks of one step cost together."""

    tasks: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0
    stats: list[dict[str, Any]] = field(default_factory=list)


def command(recipe: Path, run: Path, workers: int) -> list[str]:
    """The command line of a build."""
    words = [sys.executable, "-m", "dataflow", "build", str(recipe), "--out", str(run)]
    return [*words, "--workers", str(workers), "--json"]


def start(recipe: Path, run: Path, workers: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a build in a process group of its own; its output goes to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            command(recipe, run, workers),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def build(recipe: Path, run: Path, workers: int, *, watch: float | None = None) -> Build:
    """Build ``recipe`` into ``run`` and wait; look at its memory every ``watch`` seconds.

    Summing PSS walks page tables and takes some milliseconds a process, so a build that is timed
    closely is not watched; its ``peak_pss`` is 0.

    Raises
    ------
    BuildError
        If its exit status is not 0.
    """
    log = run.with_name(run.name + ".log")
    begin = time.perf_counter()
    process = start(recipe, run, workers, log)
    peak = 0
    if watch is None:
        status = _wait(process, log)
    else:
        with PssSampler(process.pid, watch) as sampler:
            status = _wait(process, log)
        peak = sampler.peak
    taken = time.perf_counter() - begin
    _check(status, log)
    return Build(run, taken, peak)


def _wait(process: subprocess.Popen[bytes], log: Path) -> int:
    try:
        return process.wait(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        for member in [*_family(process), psutil.Process(process.pid)]:
            member.kill()
        process.wait()
        raise BuildError(f"the build was not done after {LIMIT_SECONDS} s; see {log}") from None


def _check(status: int, log: Path) -> None:
    if status != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise BuildError(f"the build ended with status {status}; {log} ends with:\n{tail}")


def build_through_kills(
    recipe: Path,
    run: Path,
    workers: int,
    victims: Sequence[Victim],
    rng: random.Random,
    span: float,
) -> int:
    """Build, killing each of ``victims`` in turn at a random moment; start again after a driver.

    ``span`` is about how long an undisturbed build takes, in seconds: moments are drawn from it.
    A build that ends before its killers come is thrown away and begun again with earlier moments,
    a few times. Returns how many kills met a living process.

    Raises
    ------
    BuildError
        If a build that was not killed, or the last one, ends with a status other than 0.
    """
    log = run.with_name(run.name + ".log")
    for attempt in range(ATTEMPTS):
        shutil.rmtree(run, ignore_errors=True)
        landed = _kill_in_turn(recipe, run, workers, victims, rng, span * 0.7**attempt, log)
        if landed == len(victims):
            break
    return landed


def _kill_in_turn(
    recipe: Path,
    run: Path,
    workers: int,
    victims: Sequence[Victim],
    rng: random.Random,
    span: float,
    log: Path,
) -> int:
    process = start(recipe, run, workers, log)
    landed = 0
    for victim in victims:
        try:
            process.wait(timeout=rng.uniform(0.1, 0.9) * span / len(victims))
        except subprocess.TimeoutExpired:
            landed += _kill(process, victim, rng)
        if process.poll() == -signal.SIGKILL:
            process = start(recipe, run, workers, log)
    _check(_wait(process, log), log)
    return landed


def _kill(process: subprocess.Popen[bytes], victim: Victim, rng: random.Random) -> int:
    """Kill the driver, or one Ray worker as soon as there is one; returns how many died of it."""
    if victim == "driver":
        family = _family(process)
        if process.poll() is not None:
            return 0
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        for orphan in alive:  # what Ray leaves behind would hold the machine's cores
            orphan.kill()
        return 1
    while process.poll() is None:
        workers = [p for p in _family(process) if _is_worker(p)]
        if workers:
            rng.choice(sorted(workers, key=lambda p: p.pid)).kill()
            return 1
        time.sleep(0.05)
    return 0


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _is_worker(process: psutil.Process) -> bool:
    """Whether a process is an actor of the build.

    Ray gives its agents, without which its node cannot live, and workers that wait for an actor
    titles of the same form. While the latter start, `ray.init` waits for them, and Ray 2.60 waits
    for ever if one dies then.
    """
    try:
        title = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return title.startswith("ray::") and not title.startswith("ray::IDLE") and "Agent" not in title


def verify(run: Path) -> dict[str, Any]:
    """What ``python -m dataflow verify RUN --json`` says.

    Raises
    ------
    BuildError
        If the run does not verify.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dataflow", "verify", str(run), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"{run} does not verify: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def step_costs(run: Path) -> dict[str, StepCost]:
    """What each step of a finished local run cost, from the records of its journal."""
    costs: dict[str, StepCost] = {}
    for file in sorted((run / "journal" / "records").rglob("*.json")):
        record = Record.from_json(file.read_bytes())
        if record is None:
            continue  # torn by a kill; what it stood for was done again
        cost = costs.setdefault(record.step, StepCost())
        cost.tasks += 1
        cost.seconds += record.cost.get("seconds", 0.0)
        cost.cpu_seconds += record.cost.get("cpu_seconds", 0.0)
        cost.peak_rss = max(cost.peak_rss, record.cost.get("peak_rss", 0))
        cost.stats.append(record.stats)
    return costs
