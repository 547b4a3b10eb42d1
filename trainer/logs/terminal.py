"""The live line of a run: where it is, how fast it goes, and when it will be done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from mixtures.amounts import format_tokens

PLAIN_INTERVAL = 10.0
"""Seconds between two lines where standard error is no terminal, as in a cluster's log."""
MEMORY = 20.0
"""Seconds over which the speed of the ETA is averaged: old steps count less by e each."""


class Pace:
    """Tokens a second over the last steps, and from it the time that is left.

    Parameters
    ----------
    tokens: tokens read before the first step that will be counted.
    clock: seconds; for tests.
    """

    def __init__(self, tokens: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._then = clock()
        self._tokens = tokens
        self._seconds = self._read = 0.0

    def count(self, tokens: int) -> None:
        """A step is done, and with it ``tokens`` tokens in all."""
        now = self._clock()
        keep = 2.718281828459045 ** (-(now - self._then) / MEMORY)
        self._seconds = self._seconds * keep + now - self._then
        self._read = self._read * keep + tokens - self._tokens
        self._then, self._tokens = now, tokens

    def left(self, total: int) -> float | None:
        """Seconds until ``total`` tokens have been read; None before the first step."""
        if self._read <= 0 or self._seconds <= 0:
            return None
        return max(0, total - self._tokens) * self._seconds / self._read


class Terminal:
    """Shows the steps of a run on standard error.

    A live line with a bar where that is a terminal, else a plain line at the first step, at the
    last, and every ten seconds.

    Parameters
    ----------
    title: what runs, such as ``text_8k``.
    steps: steps that this run goes to, at most the stage's.
    total: tokens that have been read then.
    tokens: tokens read before the first step.
    stream, clock: for tests.
    """

    def __init__(
        self,
        title: str,
        steps: int,
        total: int,
        tokens: int = 0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.steps, self.total = title, steps, total
        self.stream = stream or sys.stderr
        self._clock = clock
        self._pace = Pace(tokens, clock)
        self._said = -PLAIN_INTERVAL + clock()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        if self.stream.isatty():
            self._bar = RichProgress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[line]}", markup=False),
                console=Console(file=self.stream),
            )
            self._task = self._bar.add_task(title, total=total, completed=tokens, line="")
            self._bar.start()

    def step(self, record: Mapping[str, Any]) -> None:
        """Show a step that is done."""
        self._pace.count(record["tokens"])
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=record["tokens"], line=self.line(record))
            return
        now = self._clock()
        if now - self._said >= PLAIN_INTERVAL or record["step"] >= self.steps:
            self._said = now
            print(f"{self.title}  {self.line(record)}", file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """A line of its own, above the live one: a warning, a checkpoint."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def line(self, record: Mapping[str, Any]) -> str:
        """What is shown of a step."""
        parts = [
            f"step {record['step']}/{self.steps}",
            f"{format_tokens(record['tokens'])} tokens",
            f"loss {record['loss']:.4f}",
            f"grad {record['grad_norm']:.3g}",
            f"lr {record['lr']:.3g}",
            f"{format_tokens(record['tokens_per_second'])} tok/s",
        ]
        if record.get("padding"):
            parts.append(f"padding {record['padding']:.1%}")
        if record["mfu"] is not None:
            parts.append(f"MFU {record['mfu']:.1%}")
        if record["dropped_tokens"]:
            parts.append(f"dropped {format_tokens(record['dropped_tokens'])}")
        left = self._pace.left(self.total)
        parts.append("ETA -" if left is None else f"ETA {timedelta(seconds=round(left))}")
        return "  ".join(parts)

    def close(self) -> None:
        """Leave the last line standing."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
