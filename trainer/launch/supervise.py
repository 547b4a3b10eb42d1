"""Waits for all ranks: passes signals on, and ends all ranks when one has failed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from trainer.launch.ending import Ending

GRACE_SECONDS = 5.0
"""How long ranks may take to end by themselves after one has failed: time to say why they did."""
TICK_SECONDS = 0.2


class Group(Protocol):
    """The ranks of a run."""

    names: tuple[str, ...]
    """What errors call each rank."""

    def wait(self, seconds: float) -> dict[int, Ending]:
        """Ranks that have ended since the last call, after ``seconds`` at most."""

    def signal(self, number: int) -> None:
        """Send a signal to every rank that runs."""

    def kill(self) -> None:
        """End every rank at once."""


@dataclass
class Course:
    """How it went.

    Attributes:
        endings: by rank, in the order in which they came.
        killed: ranks that were ended from here, which says nothing about them.
        signal: the last signal that the caller was sent, None where it was sent none.
    """

    endings: dict[int, Ending] = field(default_factory=dict)
    killed: set[int] = field(default_factory=set)
    signal: int | None = None


class _Signals:
    """Signals that the caller was sent, and that are yet to be passed on."""

    def __init__(self) -> None:
        self.waiting: list[int] = []

    def note(self, number: int, _: FrameType | None) -> None:
        """A handler. The ranks are told by the loop: what it calls may not be entered twice."""
        self.waiting.append(number)


@contextmanager
def _noting() -> Iterator[_Signals]:
    signals, kinds = _Signals(), (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, signals.note) for kind in kinds]
    try:
        yield signals
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def supervise(group: Group, *, grace: float = GRACE_SECONDS) -> Course:
    """Wait until every rank has ended, and say how each did.

    The first SIGTERM or SIGINT is passed on, and a run takes the time it needs to save; the second
    ends all ranks at once. When a rank fails, the others have ``grace`` seconds.
    """
    course, deadline = Course(), float("inf")
    try:
        with _noting() as signals:
            while len(course.endings) < len(group.names):
                course.endings |= group.wait(TICK_SECONDS)
                while signals.waiting:
                    number, first = signals.waiting.pop(0), course.signal is None
                    course.signal = number
                    if first:
                        group.signal(number)
                    else:
                        deadline = 0.0
                if any(ending.is_failure for ending in course.endings.values()):
                    deadline = min(deadline, time.monotonic() + grace)
                if time.monotonic() >= deadline:
                    left = set(range(len(group.names))) - set(course.endings)
                    course.killed |= left
                    group.kill()
    finally:
        group.kill()
    return course
