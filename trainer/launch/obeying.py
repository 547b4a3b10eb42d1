"""``python -m trainer worker``: one warm process that obeys many commands, for studies.

Imports take longer than a small run's training; this process does them once. It reads a JSON object
a line from standard input, ``{"id", "argv", "stdout", "stderr"}``: runs ``python -m trainer ARGV``
with its output in the two files (appended), and answers on standard output, a JSON object a line:

``{"ready": PID, "device": "cpu"|"cuda"}``  once, when it is warm;
``{"beat": SECONDS}``  every two seconds, as long as the process lives and Python runs;
``{"id", "code", "seconds", "crashed"}``  when a command has ended; a crash is a defect, whose
traceback is in the command's ``stderr``.

It ends when standard input is closed. A command that runs then is asked to save and end, as by
SIGTERM: no worker outlives who started it.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

Add = Callable[[str, Callable[[argparse.Namespace], int], str], Any]

BEAT_SECONDS = 2.0
LAST_SECONDS = 60.0
"""What a command that is asked to end may take to save."""
CRASHED = 70
_DONE = 0


def add_commands(add: Add) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    add("worker", run_worker, "obey commands from standard input in one warm process")


def run_worker(_: argparse.Namespace) -> int:
    """Obey until standard input is closed."""
    from trainer.launch.afresh import afresh, warm

    # An interruption of a terminal is for who started this process, which then ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _Answers()
    device = warm()
    answers.tell({"ready": os.getpid(), "device": device})
    threading.Thread(target=answers.beat, daemon=True).start()
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(orders, busy), daemon=True).start()
    while (order := orders.get()) is not None:
        busy.set()
        began = time.monotonic()
        with afresh(), _written_to(order["stdout"], order["stderr"]):
            code, crashed = _obey(order["argv"])
        busy.clear()
        seconds = time.monotonic() - began
        answers.tell({"id": order["id"], "code": code, "seconds": seconds, "crashed": crashed})
    return _DONE


def _obey(argv: list[str]) -> tuple[int, bool]:
    """A command's exit code, and whether it crashed."""
    from trainer.command import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main(argv), False
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None), False
    except BaseException:  # noqa: BLE001 - whatever it is, the next command must be obeyed
        traceback.print_exc()
        return CRASHED, True


class _Answers:
    """Where answers go: what standard output was at the start, which commands do not reach."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._file = os.dup(1)
        self._lock = threading.Lock()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def tell(self, answer: dict[str, Any]) -> None:
        """Write a line at once."""
        with self._lock:
            os.write(self._file, orjson.dumps(answer) + b"\n")

    def beat(self) -> None:
        """Tell that the process lives, until nobody reads it."""
        while True:
            try:
                self.tell({"beat": time.monotonic()})
            except OSError:
                return
            time.sleep(BEAT_SECONDS)


def _listen(orders: queue.Queue[dict[str, Any] | None], busy: threading.Event) -> None:
    for line in sys.stdin.buffer:
        if line.strip():
            orders.put(orjson.loads(line))
    orders.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(LAST_SECONDS)
    os._exit(128 + signal.SIGTERM)


@contextmanager
def _written_to(stdout: str, stderr: str) -> Iterator[None]:
    """Standard output and error go to files, also those of compiled code."""
    kept = {}
    for number, path in ((1, stdout), (2, stderr)):
        kept[number] = os.dup(number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in kept.items():
            os.dup2(before, number)
            os.close(before)
