"""Builds as processes, and run folders side by side, for the long tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from dataflow.code import ROOT
from dataflow.run import Run
from dataflow.store import Store
from dataflow.verify import verify

COSTS = ("journal/", "report.html")
"""Files that say how a build went, which no two builds share."""


def start_build(
    recipe: Path, out: Path, workers: int, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """``python -m dataflow build`` with its output in pipes."""
    command = [sys.executable, "-m", "dataflow", "build", str(recipe), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores interrupts, and its children would inherit that.
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_build(
    recipe: Path, out: Path, workers: int = 0, environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a build."""
    process = start_build(recipe, out, workers, environment)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def contents(run: Path) -> dict[str, bytes]:
    """All files of a run folder; of those that tell costs, only that they are there."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_file() and name not in ("journal/lock", "journal/workers"):
            found[name] = b"" if name.startswith(COSTS) else path.read_bytes()
    return found


def check(run: Path) -> Run:
    """The run, after ``verify`` found no fault in it and its folder holds no temporary file."""
    loaded = Run.load(Store(str(run)))
    found = verify(loaded)
    assert found.problems == []
    assert found.root_hash == loaded.header["logical_root"]
    assert not (run / "work").exists()
    assert not list(run.glob(".*"))
    return loaded


def done_tasks(run: Path) -> dict[str, int]:
    """Tasks that the latest build has run so far, by step."""
    try:
        progress: dict[str, Any] = orjson.loads((run / "journal" / "progress.json").read_bytes())
    except FileNotFoundError:
        return {}
    return {step["step"]: step["done"] for step in progress["steps"]}


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    """Whether ``what`` came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return what()
