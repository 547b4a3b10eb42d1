"""Watches the metrics of a run that trains, and says when it has failed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from mixtures.studies.recipe import WatchOf

LOOK_SECONDS = 1.0
POINTS = 200
"""Of a curve that is kept, at most."""


@dataclass(frozen=True)
class Verdict:
    """Why a run is ended: ``diverged`` is for good, ``silent`` may be tried again."""

    kind: Literal["diverged", "silent"]
    why: str


class Watch:
    """Reads ``metrics.jsonl`` as it grows.

    Parameters
    ----------
    path : the file, which need not be there yet
    tokens : of the whole run
    settings : when it is ended
    """

    def __init__(self, path: Path, tokens: int, settings: WatchOf) -> None:
        self._path, self._total, self._settings = path, tokens, settings
        self._read = 0
        self._first: float | None = None
        self._above = 0
        self._news = self._looked = time.monotonic()
        self.tokens = 0

    def look(self) -> Verdict | None:
        """What the lines since the last look say; at most once a second."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        for line in self._lines():
            self._news = now
            if (verdict := self._judge(line)) is not None:
                return verdict
        if now - self._news > self._settings.silence:
            return Verdict("silent", f"nothing was written for {self._settings.silence:.0f} s")
        return None

    def _lines(self) -> Iterable[dict[str, Any]]:
        try:
            size = self._path.stat().st_size
            if size < self._read:  # a run that goes on cuts steps that it does again
                self._read = 0
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [orjson.loads(line) for line in whole.splitlines()]

    def _judge(self, line: dict[str, Any]) -> Verdict | None:
        self.tokens = line["tokens"]
        verdict = not_finite(line)
        if verdict is not None:
            return verdict
        loss = line["loss"]
        if self._first is None or line["step"] == 1:
            self._first = loss
        settings = self._settings
        settled = line["tokens"] >= settings.after * self._total
        high = settled and loss > self._first + settings.margin
        self._above = self._above + 1 if high else 0
        if self._above >= settings.steps:
            return Verdict(
                "diverged",
                f"the loss is {loss:.3f} at step {line['step']} and has been more than "
                f"{settings.margin:g} above its first, {self._first:.3f}, for {self._above} steps",
            )
        return None


def not_finite(line: dict[str, Any]) -> Verdict | None:
    """Whether a line's loss or gradient norm is no number."""
    for name in ("loss", "grad_norm"):
        if line[name] is None:
            said = (line.get("not_finite") or {}).get(name, "no number")
            return Verdict("diverged", f"{name} is {said} at step {line['step']}")
    return None


def read_curve(path: Path) -> tuple[list[list[float]], float | None, Verdict | None]:
    """The curve of a run as at most ``POINTS`` pairs of tokens and training loss, the loss of its
    last step, and whether some step's was no number.

    Losses of neighbouring steps are averaged; tokens are those at the last of them.
    """
    if not path.exists():
        return [], None, None
    steps, bad = [], None
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = orjson.loads(line)
        bad = bad or not_finite(record)
        if record["loss"] is not None:
            steps.append((record["tokens"], record["loss"]))
    if not steps:
        return [], None, bad
    width = -(-len(steps) // POINTS)
    curve = []
    for start in range(0, len(steps), width):
        stretch = steps[start : start + width]
        curve.append([stretch[-1][0], sum(loss for _, loss in stretch) / len(stretch)])
    return curve, steps[-1][1], bad
