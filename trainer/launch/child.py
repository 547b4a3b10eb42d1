"""A rank's process, as seen from the process that started it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trainer.launch.ending import Ending
from trainer.launch.environment import Listener

Sink = Callable[[bytes], None]
"""Takes what a process wrote, from a thread of its own."""

TAIL_BYTES = 8 << 10
DRAIN_SECONDS = 5.0
"""How long the last that a process wrote is waited for: a child of its own may hold it open."""

WORKER = ("-m", "trainer.launch.worker")


class Tail:
    """The last that a process wrote, on both streams."""

    def __init__(self) -> None:
        self._kept = b""

    def write(self, data: bytes) -> None:
        """A sink."""
        self._kept = (self._kept + data)[-TAIL_BYTES:]

    @property
    def text(self) -> str:
        """What is kept, for an error's message."""
        return self._kept.decode(errors="replace").strip()


class Child:
    """A rank's process in a session of its own, so that a terminal's Ctrl-C reaches it only once.

    Args:
        arguments: behind ``python -m trainer``.
        environment: all of it, with what ``environment.of_rank`` adds.
        report: where the process saves how it ended; a file that is not there yet.
        out, err: take what it writes; None lets it write where the calling process does.
        folder: where it runs, by default where the calling process does.
        screen: columns and lines of a terminal that ``err`` ends up on: then its standard error is
            a terminal too, and has a live line.
        command: what this Python runs; another for tests.
        listener: what rank 0 serves the ranks' store on; open in the process as well.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        report: Path,
        *,
        out: Sink | None = None,
        err: Sink | None = None,
        folder: str | None = None,
        screen: tuple[int, int] | None = None,
        command: Sequence[str] = WORKER,
        listener: Listener | None = None,
    ) -> None:
        self._report = report
        self._tail = Tail()
        ours, theirs = (None, None) if screen is None else _terminal(*screen)
        usual = None if err is None else subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, *command, str(report), *arguments],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=None if out is None else subprocess.PIPE,
            stderr=usual if theirs is None else theirs,
            start_new_session=True,
            pass_fds=() if listener is None else (listener.number,),
        )
        if theirs is not None:
            os.close(theirs)
        if ours is None and self._process.stderr is not None:
            ours = self._process.stderr.fileno()
        streams = [(ours, err)]
        if self._process.stdout is not None:
            streams.append((self._process.stdout.fileno(), out))
        self._readers = [
            threading.Thread(target=self._read, args=stream, daemon=True)
            for stream in streams
            if None not in stream
        ]
        for reader in self._readers:
            reader.start()

    def poll(self) -> Ending | None:
        """How it ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        for reader in self._readers:
            reader.join(DRAIN_SECONDS)
        return Ending.of_process(self._report, code, self._tail.text)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing where it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, stream: int, sink: Sink) -> None:
        while True:
            try:
                data = os.read(stream, 1 << 16)
            except OSError:
                return  # a terminal that nobody writes to any more reads as an error
            if not data:
                return
            self._tail.write(data)
            sink(data)


def _terminal(columns: int, lines: int) -> tuple[int, int]:
    """Our end and theirs of a terminal that passes bytes on as they are."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    termios.tcsetwinsize(theirs, (lines, columns))
    return ours, theirs
