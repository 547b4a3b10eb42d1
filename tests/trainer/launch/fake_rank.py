"""Stands in for a rank's process: ``python -m tests.trainer.launch.fake_rank FILE WHAT …``.

``WHAT`` has one part a rank, joined by commas; a rank does its part, or the last.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from trainer.launch import worker
from trainer.launch.ending import Ending
from trainer.launch.environment import LISTENER

FAKE = ("-m", "tests.trainer.launch.fake_rank")
VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "OMP_NUM_THREADS",
)  # fmt: skip


def main(file: str, what: str, *rest: str) -> int:
    """Do this rank's part."""
    rank = int(os.environ["RANK"])
    parts = what.split(",")
    part = parts[min(rank, len(parts) - 1)]
    ending = Path(file)
    if part == "tell":
        print(f"rank {rank} to output", flush=True)
        print(f"rank {rank} to errors; a terminal: {sys.stderr.isatty()}", file=sys.stderr)
        told = [*(os.environ[name] for name in VARIABLES), _listens()]
        Path(rest[0], str(rank)).write_text("\n".join(told))
        Ending("done", 0).save(ending)
    elif part == "stopped":
        Ending("done", 1).save(ending)
        return 1
    elif part == "wait":
        time.sleep(60)
    elif part == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        Path(rest[0], str(rank)).write_text("ready")
        time.sleep(60)
    elif part == "refuse":
        Ending("refused", 2, f"no such stage, says {rank}").save(ending)
        return 2
    elif part == "crash":
        Ending("crashed", 1, "Traceback: ValueError: by itself").save(ending)
        return 1
    elif part == "follow":
        Ending("followed", 1, "Connection closed by peer").save(ending)
        return 1
    elif part == "die":
        print("the last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif part in ("save", "ignore"):
        return _save(Path(rest[0], str(rank)), ending, ignore=part == "ignore")
    return 0


def _listens() -> str:
    """The port of the socket that the launcher left open for this rank."""
    number = os.environ.get(LISTENER)
    if number is None:
        return "none"
    with socket.socket(fileno=int(number)) as listener:
        return str(listener.getsockname()[1])


def _save(notes: Path, ending: Path, *, ignore: bool) -> int:
    """Note every signal; end half a second after the first, unless signals are ignored."""
    begun, seen = threading.Event(), []

    def noted(number: int, _: FrameType | None) -> None:
        seen.append(number)
        begun.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, noted)
    threading.Thread(target=worker.end_with_launcher, daemon=True).start()
    notes.write_text("ready")
    begun.wait(60)
    time.sleep(60 if ignore else 0.5)
    notes.write_text(" ".join(signal.Signals(number).name for number in seen))
    Ending("done", 0).save(ending)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
