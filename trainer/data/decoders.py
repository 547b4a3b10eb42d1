"""Who decodes images: threads of the trainer, or processes beside it.

Pillow lets go of the interpreter's lock while it decodes, but what is around it does not: with
hundreds of small images a step threads take the lock from the one that launches a GPU's kernels.
Beside a GPU therefore processes decode (`trainer.data.decoding`); on a CPU, where training has the
cores and a step lasts long, threads do. Either gives the same tiles.
"""

from __future__ import annotations

import os
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, cast

import trainer
from trainer.closing import Closing
from trainer.data.decoding import U8, Ask, read_answer, tiles_of, write_request
from trainer.data.errors import DataError
from vl_data.tiling import Tiling

MOST_DECODERS = 16
"""Images that are decoded at once, at most."""
TOGETHER, TOGETHER_PIXELS = 16, 1 << 22
"""Images that one decoder is asked for at once, at most, and their pixels: fewer of large ones."""
_ENDS_SECONDS = 5.0

Fetch = Callable[[Ask], "bytes | str"]
"""The bytes of an image, or what is wrong, to follow its name."""


class Decoders(Closing):
    """Decodes and tiles images, several at once.

    Parameters
    ----------
    tiling : Tiling
    fetch : callable
        Reads an image's bytes, in a thread of this process.
    count : int
        How many work at once.
    """

    def __init__(self, tiling: Tiling, fetch: Fetch, count: int) -> None:
        self.tiling, self.count = tiling, count
        self._fetch = fetch
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="images")

    def submit(self, asks: Sequence[Ask]) -> Future[list[U8 | str]]:
        """Begin some images: of each its tiles, uint8 [tiles, s, s, 3], or what is wrong."""
        return self._threads.submit(self._decode, asks)

    def close(self) -> None:
        """End the work; images that are not begun are dropped."""
        self._threads.shutdown(cancel_futures=True)

    @abstractmethod
    def _decode(self, asks: Sequence[Ask]) -> list[U8 | str]: ...


class ThreadDecoders(Decoders):
    """Decodes in threads of this process."""

    def _decode(self, asks: Sequence[Ask]) -> list[U8 | str]:
        return [self._tiles(ask) for ask in asks]

    def _tiles(self, ask: Ask) -> U8 | str:
        data = self._fetch(ask)
        return data if isinstance(data, str) else tiles_of(data, *ask[:2], self.tiling)


class ProcessDecoders(Decoders):
    """Decodes in processes that end with this one, however it ends.

    A process that dies is replaced and asked again, image by image: one that dies of an image too
    makes that image a damaged one. Images of local files are read by the processes themselves.
    """

    def __init__(self, tiling: Tiling, fetch: Fetch, count: int) -> None:
        super().__init__(tiling, fetch, count)
        self._free: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(count):
            self._free.put(_Process())

    def close(self) -> None:
        """End the processes; images that are not begun are dropped."""
        super().close()
        while not self._free.empty():
            self._free.get().end()

    def _decode(self, asks: Sequence[Ask]) -> list[U8 | str]:
        process = self._free.get()
        try:
            return self._ask(process, asks)
        finally:
            self._free.put(process)

    def _ask(self, process: _Process, asks: Sequence[Ask]) -> list[U8 | str]:
        whole = [self._with_data(ask) for ask in asks]
        there = [ask for ask in whole if not isinstance(ask, str)]
        try:
            answers = process.ask(there, self.tiling) if there else []
        except (EOFError, OSError):
            answers = [self._alone(process, ask) for ask in there]
        coming = iter(answers)
        return [ask if isinstance(ask, str) else next(coming) for ask in whole]

    def _with_data(self, ask: Ask) -> Ask | str:
        if ask.path:
            return ask
        data = self._fetch(ask)
        return data if isinstance(data, str) else ask._replace(data=data)

    def _alone(self, process: _Process, ask: Ask) -> U8 | str:
        try:
            return process.ask([ask], self.tiling)[0]
        except (EOFError, OSError):
            return f": the process that decodes it ended with {process.status}"


class _Process:
    """A process of `trainer.data.decoding`, started when it is asked and again after it ended."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None
        self.status: int | None = None

    def ask(self, asks: Sequence[Ask], tiling: Tiling) -> list[U8 | str]:
        """What it answers.

        Raises
        ------
        EOFError, OSError
            If it ended meanwhile; ``status`` is how.
        DataError
            If it cannot be started.
        """
        if self._running is None:
            try:
                self._running = _start()
            except OSError as error:
                raise DataError(
                    f"a process that decodes images cannot be started ({error}); free memory or "
                    "processes of this machine, and resume"
                ) from error
        requests, answers = self._running.stdin, self._running.stdout
        try:
            write_request(cast(BinaryIO, requests), asks, tiling)
            return read_answer(cast(BinaryIO, answers), tiling.tile)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End it, kindly at first."""
        running, self._running = self._running, None
        if running is None:
            return
        try:
            running.communicate(timeout=_ENDS_SECONDS)
        except (subprocess.TimeoutExpired, OSError):
            running.kill()
            running.wait()
        self.status = running.returncode


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(trainer.__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH")
    return subprocess.Popen(
        [sys.executable, "-m", "trainer.data.decoding"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root if not others else f"{root}{os.pathsep}{others}"},
        # A Ctrl-C is the trainer's: it ends them when it is ready to.
        start_new_session=True,
    )


def decoders_here(beside: int = 0) -> int:
    """This rank's share of the cores that it may run on, as torchrun counts ranks of a node, but
    for ``beside``; 1 at least."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_DECODERS, len(os.sched_getaffinity(0)) // ranks - beside))


def parts_of(asks: Sequence[Ask]) -> list[range]:
    """Which of some images a decoder is asked for at once, each after the other."""
    parts: list[range] = []
    first, pixels = 0, 0
    for n, ask in enumerate(asks):
        pixels += ask.width * ask.height
        if n > first and (n - first >= TOGETHER or pixels > TOGETHER_PIXELS):
            parts.append(range(first, n))
            first, pixels = n, ask.width * ask.height
    return [*parts, range(first, len(asks))] if asks else parts
