"""Ranks on this machine: a process each.

They are started here and not by torch's elastic launcher, whose agent gives ranks 30 seconds to
save when it is asked to end, exits with 1 whatever a rank exits with, and prints every rank's
traceback; a Ray cluster's ranks are supervised by the same code.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from trainer.launch.child import WORKER, Child
from trainer.launch.ending import Ending
from trainer.launch.environment import Listener, Place, of_rank
from trainer.launch.supervise import supervise
from trainer.launch.verdict import conclude

HERE = "127.0.0.1"
POLL_SECONDS = 0.05


def run_here(count: int, arguments: Sequence[str], *, command: Sequence[str] = WORKER) -> int:
    """Run ``python -m trainer`` with ``arguments`` on ``count`` ranks; their exit code.

    What rank 0 writes goes to this process's output as it is; what others write is shown only when
    they die of it. Each GPU takes one rank.

    Raises:
        LaunchFailed: a rank failed.
    """
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        group = LocalGroup(count, arguments, Path(folder), command)
        return conclude(supervise(group), group.names)


class LocalGroup:
    """The ranks, as ``supervise`` sees them. ``folder`` is for what they say of their ending."""

    def __init__(
        self, count: int, arguments: Sequence[str], folder: Path, command: Sequence[str]
    ) -> None:
        self.names = tuple(f"rank {rank} of {count}" for rank in range(count))
        self._children: dict[int, Child] = {}
        self._ended: set[int] = set()
        try:
            with Listener(HERE) as listener:
                self._start(listener, arguments, folder, command)
        except BaseException:
            self.kill()
            raise

    def _start(
        self, listener: Listener, arguments: Sequence[str], folder: Path, command: Sequence[str]
    ) -> None:
        count = len(self.names)
        for rank in range(count):
            hidden = None if rank == 0 else _forget
            kept = listener if rank == 0 else None
            self._children[rank] = Child(
                arguments,
                of_rank(os.environ, Place(rank, count, rank, count), HERE, listener.port, kept),
                folder / f"{rank}.json",
                out=hidden,
                err=hidden,
                command=command,
                listener=kept,
            )

    def wait(self, seconds: float) -> dict[int, Ending]:
        """See ``supervise.Group``."""
        until = time.monotonic() + seconds
        while True:
            ended = {
                rank: ending
                for rank, child in self._children.items()
                if rank not in self._ended and (ending := child.poll()) is not None
            }
            if ended or time.monotonic() >= until:
                self._ended |= set(ended)
                return ended
            time.sleep(POLL_SECONDS)

    def signal(self, number: int) -> None:
        """See ``supervise.Group``."""
        for child in self._children.values():
            child.signal(number)

    def kill(self) -> None:
        """See ``supervise.Group``."""
        for child in self._children.values():
            child.kill()


def _forget(_: bytes) -> None:
    """The last of it is kept by the child."""
