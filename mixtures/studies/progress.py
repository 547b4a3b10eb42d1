"""A bar over all runs of a study, with the time that is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mixtures.studies.executing import Job


class Bar:
    """Counts tokens trained, over all runs. Told from several threads."""

    def __init__(self, bar: object, task: int, runs: int) -> None:
        self._bar, self._task, self._runs = bar, task, runs
        self._tokens: dict[str, int] = {}
        self._done = 0
        self._lock = threading.Lock()

    def told(self, key: str, tokens: int) -> None:
        """Of a run's tokens so far."""
        with self._lock:
            if self._tokens.get(key) == tokens:
                return
            self._tokens[key] = tokens
            self._show()

    def ended(self) -> None:
        """A run has its result."""
        with self._lock:
            self._done += 1
            self._show()

    def _show(self) -> None:
        self._bar.update(  # type: ignore[attr-defined]
            self._task,
            completed=sum(self._tokens.values()),
            description=f"{self._done} of {self._runs} runs",
        )


@contextmanager
def bar_over(jobs: Sequence[Job], shown: bool) -> Iterator[Bar]:
    """A bar on standard error, where a person may look at it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task(f"0 of {len(jobs)} runs", total=sum(job.tokens for job in jobs))
        yield Bar(bar, task, len(jobs))
