"""How much memory a tree of processes holds: PSS, in which shared pages are counted once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Self

import psutil


def tree_pss(pid: int) -> int:
    """Bytes of PSS over ``pid`` and its descendants (swap included; RSS where PSS is hidden)."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_pss(process) for process in processes)


def _pss(process: psutil.Process) -> int:
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except PermissionError:
        return int(process.memory_info().rss)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    total = 0
    for line in rollup.splitlines():
        if line.startswith(("Pss:", "SwapPss:")):
            total += int(line.split()[1]) << 10
    return total


class PssSampler:
    """Samples ``tree_pss`` in a thread while a block runs.

    ``peak`` is the largest sum seen, in bytes; ``samples`` are (seconds since start, bytes).
    """

    def __init__(self, pid: int, interval: float = 0.25) -> None:
        self._pid = pid
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[tuple[float, int]] = []

    @property
    def peak(self) -> int:
        return max((pss for _, pss in self.samples), default=0)

    def _run(self) -> None:
        start = time.perf_counter()
        while not self._stop.is_set():
            self.samples.append((time.perf_counter() - start, tree_pss(self._pid)))
            self._stop.wait(self._interval)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
