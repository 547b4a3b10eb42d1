"""A warm process that trains and evaluates, seen from the study: ``python -m trainer worker``."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

WORKER = ("-m", "trainer", "worker")
START_SECONDS = 300.0
BEAT_SECONDS = 120.0
"""Without a beat for so long a worker counts as hung: they come every two seconds."""
END_SECONDS = 20.0
POLL_SECONDS = 0.25

_GONE = object()


class WorkerLost(Exception):
    """A worker died or hung while it obeyed; the text says how."""


class Ended(Exception):
    """A command was ended because its watch said so, ``verdict``; None: all is to stop."""

    def __init__(self, verdict: Any) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    seconds: float
    crashed: bool


class Worker:
    """One process, started at once and warm after seconds.

    Parameters
    ----------
    log : where what the process itself writes to standard error goes, appended
    environment : all of it; None: this process's
    command : what this Python runs; another for tests
    """

    def __init__(
        self,
        log: Path,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = WORKER,
    ) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=None if environment is None else dict(environment),
                start_new_session=True,  # a terminal's Ctrl-C is for the study, which ends it
            )
        self._answers: queue.Queue[Any] = queue.Queue()
        self._numbers = itertools.count(1)
        self._beat = time.monotonic() + START_SECONDS
        self._warm = False
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def call(
        self,
        argv: Sequence[str],
        stdout: Path,
        stderr: Path,
        watch: Callable[[], Any] = lambda: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Have it run ``python -m trainer ARGV`` and wait for the end.

        Parameters
        ----------
        stdout, stderr : what the command writes is appended there
        watch : asked several times a second; anything but None ends the command, and the worker
        stopping : asked likewise; True lets the command save, and ends both

        Raises
        ------
        WorkerLost
            If the process dies or hangs; it is ended then.
        Ended
            If ``watch`` or ``stopping`` said so; the process is ended too.
        """
        number = next(self._numbers)
        order = {"id": number, "argv": list(argv), "stdout": str(stdout), "stderr": str(stderr)}
        assert self._process.stdin is not None, "it was opened as a pipe"
        try:
            self._process.stdin.write(orjson.dumps(order) + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._lose("died")
        while True:
            with suppress(queue.Empty):
                answer = self._answers.get(timeout=POLL_SECONDS)
                if answer is _GONE:
                    self._lose("died")
                if answer.get("id") == number:
                    return Answer(answer["code"], answer["seconds"], answer["crashed"])
            if time.monotonic() - self._beat > BEAT_SECONDS:
                self._lose(f"gave no sign of life for {BEAT_SECONDS:.0f} s")
            if stopping():
                self.close()
                raise Ended(None)
            if (verdict := watch()) is not None:
                self.kill()
                raise Ended(verdict)

    def _lose(self, how: str) -> None:
        self.kill()
        code = self._process.returncode
        status = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        last = self.log.read_bytes()[-400:].decode(errors="replace").strip()
        words = f"; its last words: {last}" if last else ""
        raise WorkerLost(f"the process that trained {how} ({status}){words}")

    def close(self) -> None:
        """Ask it to save and end; end it, and what it started, where it does not."""
        if self.alive:
            with suppress(OSError):
                assert self._process.stdin is not None, "it was opened as a pipe"
                self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None, "it was opened as a pipe"
        for line in self._process.stdout:
            self._beat = time.monotonic() if self._warm else self._beat
            answer = orjson.loads(line)
            if "ready" in answer:
                self._warm, self._beat = True, time.monotonic()
            elif "id" in answer:
                self._answers.put(answer)
        self._answers.put(_GONE)


class Hold:
    """Holds a worker, and another one where that is gone. For one thread."""

    def __init__(self, start: Callable[[], Worker]) -> None:
        self._start = start
        self._worker: Worker | None = None

    def worker(self) -> Worker:
        """One that lives."""
        if self._worker is None or not self._worker.alive:
            self._worker = self._start()
        return self._worker

    def replace(self) -> None:
        """Have the next one be another: this one crashed, and may be in any state."""
        if self._worker is not None:
            self._worker.kill()

    def close(self) -> None:
        """End it."""
        if self._worker is not None:
            self._worker.close()
