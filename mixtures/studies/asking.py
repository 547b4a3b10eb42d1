"""Asks another room, or another command of this one, by its front door: as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

from mixtures.studies.errors import StudyError


def ask(room: str, arguments: Sequence[str], doing: str) -> dict[str, Any]:
    """Run ``python -m ROOM ARGUMENTS --json`` to its end; its answer.

    What it writes to standard error is written there.

    Raises
    ------
    StudyError
        If it fails, with its words; ``doing`` says what for.
    """
    command = [sys.executable, "-m", room, *arguments, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        out, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    answer = _answer(out)
    if process.returncode:
        told = f"`python -m {room} {' '.join(arguments)}`"
        words = answer.get("error") or answer.get("problems") or "its words are above"
        raise StudyError(f"{doing}: {told} ended with {process.returncode}: {words}")
    return answer


def _answer(out: bytes) -> dict[str, Any]:
    """An object, however many lines it takes, or the last line where each is one."""
    for text in (out, *out.splitlines()[-1:]):
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(text)
            return found if isinstance(found, dict) else {}
    return {}
