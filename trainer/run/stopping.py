"""Asked to end: a signal is noted, and the loop ends after the step it is in."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist


class Asked:
    """Whether this process was asked to end, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        """A signal's handler. The second of a kind ends the process at once."""
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def anywhere(self, device: torch.device, *, busy: bool) -> tuple[bool, bool]:
        """Whether any rank was asked, so that all end after the same step; and is any ``busy``."""
        flags = torch.tensor([self.signal is not None, busy], dtype=torch.int32, device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        ending, any_busy = flags.tolist()
        return bool(ending), bool(any_busy)


@contextmanager
def listening() -> Iterator[Asked]:
    """Notes SIGTERM and SIGINT while inside."""
    asked, kinds = Asked(), (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, asked.note) for kind in kinds]
    try:
        yield asked
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
