"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from quality.endpoint.ask import Tally

LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Meter:
    """Shows tallies of a run of ``total`` questions on a stream (None: standard error); a context
    manager.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._started = self._shown = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Meter:
        if self._stream.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
            )
            self._bar.start()
            self._bar.add_task("asking", total=self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, tally: Tally) -> None:
        """Show where the run stands."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=tally.done, description=_said(tally))
            return
        now = time.monotonic()
        if now - self._shown >= LINE_EVERY:
            self._shown = now
            line = progress_line(tally, self._total, now - self._started)
            print(line, file=self._stream, flush=True)


def progress_line(tally: Tally, total: int, seconds: float) -> str:
    """One line about a run that has taken ``seconds``.

    The time left is that of the questions asked so far: what the store held took none.
    """
    left = "?"
    if tally.asked:
        left = f"{(total - tally.done) * seconds / tally.asked:.0f} s"
    return f"{tally.done:,} of {total:,}, {_said(tally)}, at most {left} left"


def _said(tally: Tally) -> str:
    parts = [f"{tally.asked:,} asked", f"{tally.failed:,} failed"]
    if tally.retries:
        parts.append(f"{tally.retries:,} retries")
    if tally.money:
        parts.append(f"cost {tally.money:.2f}")
    return ", ".join(parts)
