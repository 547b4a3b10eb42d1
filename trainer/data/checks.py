"""Looks at files of a run, each once, ahead of who reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from trainer.closing import Closing

WAITING = 8
"""Looks that wait to be done, at most, of those that nobody waits for yet."""


class Checks(Closing):
    """Looks that are done in threads of their own; each remembers by itself what it found."""

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._begun: dict[Hashable, Future[None]] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="corpus-check")

    def begin(self, key: Hashable, look: Callable[[], None]) -> Future[None]:
        """The only look under this key, done or to come."""
        with self._lock:
            if key not in self._begun:
                self._begun[key] = self._pool.submit(look)
            return self._begun[key]

    @property
    def begun(self) -> list[Future[None]]:
        """All looks so far, done or to come."""
        with self._lock:
            return list(self._begun.values())

    def soon(self, looks: Iterable[tuple[Hashable, Callable[[], None]]]) -> bool:
        """Have looks done before anybody asks.

        Returns
        -------
        False where enough wait already, and some were not taken; then ask again later.
        """
        for key, look in looks:
            with self._lock:
                known = key in self._begun
                waiting = sum(not begun.done() for begun in self._begun.values())
            if not known and waiting >= WAITING:
                return False
            self.begin(key, look)
        return True

    def close(self) -> None:
        """Drop the looks that have not begun, and wait for those that have."""
        self._pool.shutdown(cancel_futures=True)
