"""Asks another room, or another command of this one, by its front door: as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from mixtures.studies.errors import StudyError

END_SECONDS = 20.0
"""For what was asked to end by itself, with all that it has started."""
POLL_SECONDS = 0.05


def ask(room: str, arguments: Sequence[str], doing: str) -> dict[str, Any]:
    """Run ``python -m ROOM ARGUMENTS --json`` to its end; its answer.

    What it writes to standard error is written there. It is in a session of its own, so that a
    terminal's Ctrl-C comes to this process alone, which ends all of the session before it raises.

    Raises
    ------
    StudyError
        If it fails, with its words; ``doing`` says what for.
    """
    command = [sys.executable, "-m", room, *arguments, "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        out, _ = process.communicate()
    except BaseException:
        _end_session(process)
        raise
    answer = _answer(out)
    if process.returncode:
        told = f"`python -m {room} {' '.join(arguments)}`"
        words = answer.get("error") or answer.get("problems") or "its words are above"
        raise StudyError(f"{doing}: {told} ended with {process.returncode}: {words}")
    return answer


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started: its group by SIGTERM, and what does not end then,
    or where this is interrupted too, by SIGKILL."""
    try:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + END_SECONDS
        while _running(process) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
    finally:
        while left := _running(process):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        process.wait()


def _running(process: subprocess.Popen[bytes]) -> list[int]:
    """What runs in a process' session. Ray's processes are in groups of their own in it."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):  # it ended meanwhile
            # Behind the name, in which brackets may be: state, parent, group, session.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == process.pid and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


def _answer(out: bytes) -> dict[str, Any]:
    """An object, however many lines it takes, or the last line where each is one."""
    for text in (out, *out.splitlines()[-1:]):
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(text)
            return found if isinstance(found, dict) else {}
    return {}
