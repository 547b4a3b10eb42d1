"""What a build is doing: a live display on a terminal, and a file that ``status`` reads.

Rates and times go to the terminal, to ``journal/progress.json`` and to the report; none of them can
reach an output.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from dataflow.journal import Record
from dataflow.store import Store
from dataflow.tasks import STEP_MODULES, Task

WRITE_INTERVAL = 1.0
"""Seconds between two writes of ``journal/progress.json``."""

TYPICAL_RATE = {
    "read": 6e6,
    "scan": 25e6,
    "language": 2e6,
    "reward": 2e7,
    "decide": 2e8,
    "shingles": 5e7,
    "settle": 6e7,
    "pack": 6e7,
    "tokenize": 6e6,
}
"""Bytes of input per second and core, for a first ETA; measured rates replace them as they come."""


@dataclass
class StepProgress:
    """Counts of one step."""

    step: str
    tasks: int = 0
    done: int = 0
    bytes: int = 0
    done_bytes: int = 0
    seconds: float = 0.0
    documents: int = 0
    peak_rss: int = 0
    first: float = 0.0
    last: float = 0.0


class MemorySampler(threading.Thread):
    """Samples the proportional set size (PSS) of this process and all its descendants.

    PSS divides each shared page among those that map it (Linux, /proc/PID/smaps_rollup), so the
    sum over a process tree counts every page once. Where there is no PSS, RSS stands in.
    """

    def __init__(self, interval: float = 2.0) -> None:
        super().__init__(daemon=True)
        self.interval = interval
        self.peak = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self.interval):
            self.peak = max(self.peak, tree_pss(psutil.Process()))

    def stop(self) -> None:
        self._stopped.set()


def tree_pss(root: psutil.Process) -> int:
    """Bytes of PSS over a process and its descendants."""
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            full = process.memory_full_info()
        except psutil.Error:  # it ended meanwhile, or is not ours to look at
            continue
        total += getattr(full, "pss", full.rss)
    return total


class Progress:
    """Counts per step, shown and written.

    Parameters
    ----------
    store : where ``journal/progress.json`` goes.
    workers : tasks that run at once, for the ETA.
    show : draw bars on standard error (only when it is a terminal).
    """

    def __init__(self, store: Store, workers: int, *, show: bool = True) -> None:
        self.store = store
        self.workers = max(workers, 1)
        self.steps: dict[str, StepProgress] = {}
        self.started = time.time()
        self.memory = MemorySampler()
        self._written = 0.0
        self._bars: RichProgress | None = None
        self._bar_ids: dict[str, TaskID] = {}
        if show and sys.stderr.isatty():
            self._bars = RichProgress(
                TextColumn("[bold]{task.description:>10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[eta]}"),
                console=Console(stderr=True),
            )
            self._bars.start()
        self.memory.start()

    def expect(self, tasks: Iterable[Task]) -> None:
        """Announce tasks that will run."""
        for task in tasks:
            step = self.steps.setdefault(task.step, StepProgress(task.step))
            step.tasks += 1
            step.bytes += task.work_bytes
        self.tick(force=True)

    def done(self, task: Task, record: Record) -> None:
        """Count a finished task."""
        step = self.steps[task.step]
        now = time.time()
        step.first = step.first or now - record.cost["seconds"]
        step.last = now
        step.done += 1
        step.done_bytes += task.work_bytes
        step.seconds += record.cost["seconds"]
        step.documents += int(record.stats.get("rows", record.stats.get("read", 0)))
        step.peak_rss = max(step.peak_rss, record.cost["peak_rss"])

    def eta(self) -> float:
        """Seconds until the steps announced so far are done (an estimate)."""
        remaining = 0.0
        for step in self.steps.values():
            left = step.bytes - step.done_bytes
            if left <= 0:
                continue
            if step.done_bytes and step.seconds:
                rate = step.done_bytes / step.seconds
            else:
                rate = TYPICAL_RATE.get(step.step, 5e7)
            remaining += left / rate
        return remaining / self.workers

    def tick(self, *, force: bool = False) -> None:
        """Refresh what is shown, at most once a second."""
        now = time.time()
        if not force and now - self._written < WRITE_INTERVAL:
            return
        self._written = now
        self._write("running")
        if self._bars is None:
            return
        eta = f"all about {self.eta():.0f} s to go"
        for step in self.steps.values():
            if step.step not in self._bar_ids:
                self._bar_ids[step.step] = self._bars.add_task(
                    step.step, total=step.tasks, rate="", eta=""
                )
            rate = step.done_bytes / step.seconds / 1e6 if step.seconds else 0.0
            self._bars.update(
                self._bar_ids[step.step],
                completed=step.done,
                total=step.tasks,
                rate=f"{rate:7.1f} MB/s/core" if step.done_bytes else "",
                eta=eta if step.done < step.tasks else "",
            )

    def _write(self, state: str) -> None:
        # A disk too full for this file is too full for the build's own: the task that meets it
        # says so, and its error must not be lost behind this one's.
        with contextlib.suppress(OSError):
            self.store.write("journal/progress.json", orjson.dumps(self.snapshot(state)))

    def snapshot(self, state: str) -> dict[str, Any]:
        """The state as JSON values."""
        order = list(STEP_MODULES)
        steps = sorted(self.steps.values(), key=lambda s: order.index(s.step))
        return {
            "state": state,
            "workers": self.workers,
            "seconds": round(time.time() - self.started, 3),
            "eta_seconds": round(self.eta(), 1),
            "peak_pss": self.memory.peak,
            "steps": [asdict(step) for step in steps],
        }

    def close(self, state: str) -> None:
        """Say how it ended."""
        self.tick(force=True)
        self.memory.stop()
        self._write(state)
        if self._bars is not None:
            self._bars.stop()
