"""Starts a rank's process on a machine of a cluster, for a launcher on another one."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.launch.child import WORKER, Child
from trainer.launch.ending import Ending
from trainer.launch.environment import Listener, Place, of_rank

POLL_SECONDS = 0.05
SEEN_SECONDS = 10.0
"""How long a file may take to be seen by other machines: a network's file system caches folders."""


@dataclass(frozen=True)
class Start:
    """What a rank is started with.

    ``folder`` is where it runs. ``screen`` is the size of the terminal on which its output ends up,
    None for none. ``devices`` are the GPUs of the machine that ranks of this run may use, None
    where there are none.
    """

    arguments: Sequence[str]
    place: Place
    address: str
    port: int
    folder: str
    variables: Mapping[str, str]
    screen: tuple[int, int] | None = None
    devices: str | None = None
    command: Sequence[str] = WORKER


@dataclass(frozen=True)
class News:
    """What a rank wrote since the last news, and how it ended if it did."""

    out: bytes
    err: bytes
    ending: Ending | None


class Agent:
    """One rank's process, and the machine it is on. Its methods are called from several threads."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._listener: Listener | None = None
        self._out, self._err = _Buffer(), _Buffer()
        self._folder = tempfile.TemporaryDirectory(prefix="rank-")

    def host(self) -> str:
        """The name of this machine."""
        return socket.gethostname()

    def listen(self, address: str) -> int:
        """Keep a port of this machine for the rank that is started next, the first; its number."""
        self._listener = Listener(address)
        return self._listener.port

    def mark(self, out: str, folder: str) -> str:
        """A new file where ``out`` will be made, for other machines to look for; its path.

        Raises OSError where nothing can be made there.
        """
        place = Path(folder, out).absolute()
        while not place.exists():
            place = place.parent
        file = place / f".seen-{uuid.uuid4().hex}"
        file.touch(exist_ok=False)
        return str(file)

    def sees(self, file: str, seconds: float = SEEN_SECONDS) -> bool:
        """Whether this machine sees another one's file, within ``seconds``."""
        until, path = time.monotonic() + seconds, Path(file)
        while True:
            # A listing asks the server again, where a name that was missing may be remembered.
            with suppress(OSError):
                if path in path.parent.iterdir():
                    return True
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_SECONDS)

    def unmark(self, file: str) -> None:
        """Remove what ``mark`` made."""
        Path(file).unlink(missing_ok=True)

    def start(self, asked: Start) -> None:
        """Start the process. Raises FileNotFoundError where its folder is not on this machine."""
        variables = {**os.environ, **asked.variables}
        if asked.devices is not None:
            variables["CUDA_VISIBLE_DEVICES"] = asked.devices
        first = asked.place.rank == 0
        self._child = Child(
            asked.arguments,
            of_rank(variables, asked.place, asked.address, asked.port, self._listener),
            Path(self._folder.name, "ending.json"),
            out=self._out.extend if first else _forget,
            err=self._err.extend if first else _forget,
            folder=asked.folder,
            screen=asked.screen if first else None,
            command=asked.command,
            listener=self._listener,
        )
        if self._listener is not None:
            self._listener.close()

    def news(self, seconds: float) -> News:
        """What there is to tell, after ``seconds`` at most; an ending is told once."""
        until = time.monotonic() + seconds
        while True:
            # Asked first: all that a process wrote has been read when it counts as ended.
            ending = None if self._child is None else self._child.poll()
            out, err = self._out.take(), self._err.take()
            if out or err or ending is not None or time.monotonic() >= until:
                if ending is not None:
                    self._folder.cleanup()
                return News(out, err, ending)
            time.sleep(POLL_SECONDS)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        if self._child is not None:
            self._child.signal(number)

    def kill(self) -> None:
        """End the process at once; nothing where it has ended."""
        if self._child is not None:
            self._child.kill()


class _Buffer:
    """Bytes that one thread puts in and another one takes out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = b""

    def extend(self, data: bytes) -> None:
        with self._lock:
            self._kept += data

    def take(self) -> bytes:
        with self._lock:
            kept, self._kept = self._kept, b""
        return kept


def _forget(_: bytes) -> None:
    """The last of it is kept by the child."""
