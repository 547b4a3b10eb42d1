"""What all ranks' endings come to: one exit code, one error, or the end by a signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from trainer.launch.ending import Ending, Kind, how_it_died
from trainer.launch.errors import LaunchFailed
from trainer.launch.supervise import Course

# An error that was made to be read explains most; a rank that only saw others go explains least.
_ORDER: tuple[Kind, ...] = ("refused", "crashed", "lost", "died", "followed")
_BY_SIGNAL: tuple[Kind, ...] = ("died", "followed")


def conclude(course: Course, names: Sequence[str]) -> int:
    """The exit code of ranks that are done, which is the same on all.

    Where the caller was sent a signal that the ranks did not survive, because they did not listen
    yet or it was the second, it ends the caller too, as it would a process of its own.

    Raises:
        LaunchFailed: with the error that explains best why the run ended.
    """
    told = {rank: end for rank, end in course.endings.items() if rank not in course.killed}
    for kind in _ORDER:
        ranks = [rank for rank, ending in told.items() if ending.kind == kind]
        if not ranks or (course.signal is not None and kind in _BY_SIGNAL):
            continue
        rank = 0 if 0 in ranks and kind == "refused" else ranks[0]
        raise LaunchFailed(_sentence(rank, names[rank], told[rank]), max(1, told[rank].code))
    failed = any(ending.is_failure for ending in told.values())
    if course.signal is not None and (failed or course.killed):
        _end_by(course.signal)
    return max(ending.code for ending in told.values())


def _sentence(rank: int, name: str, ending: Ending) -> str:
    text = ending.text or ""
    if ending.kind == "refused":
        return text if rank == 0 else f"{name}: {text}"
    if ending.kind == "lost":
        return f"{name} was lost: {text}"
    if ending.kind == "died":
        words = f"; the last that it wrote:\n{text}" if text else ""
        return f"{name} {how_it_died(ending.code)}{words}"
    return f"{name} {'crashed' if ending.kind == 'crashed' else 'lost another rank'}:\n{text}"


def _end_by(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
