"""Runs the tests room by room, each in a process of its own, and prints how long each took.

``python -m tests.rooms [--long] [ROOM ...]``: exit code 0 when all rooms pass. Without ``--long``
each time stands beside the room's budget; a room over it is named, not failed: a slow machine is no
defect. A process of its own, because the kernels' tests have Triton interpret what others compile,
and it decides that once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

BUDGET_MINUTES = {
    "kernels": 3,
    "dedup": 3,
    "quality": 3,
    "vl_data": 3,
    "dataflow": 6,
    "mixtures": 3,
    "trainer": 6,
    "benchmarks": 3,
}
"""Minutes on two cores; a room does not use all of it, and all together aim at 15."""
SPREAD = {
    "kernels": "loadgroup",
    "dataflow": "loadfile",
    "mixtures": "loadfile",
    "trainer": "loadfile",
}
"""Rooms whose tests are spread over two processes, and how pytest-xdist divides them: tests of one
file often share what takes seconds to make. The others take a minute as they are."""

FOLDER = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests of some rooms, all of them when none is named."""
    parser = argparse.ArgumentParser(prog="python -m tests.rooms", description=__doc__)
    parser.add_argument("--long", action="store_true", help="the tests that are slow or random")
    parser.add_argument("rooms", nargs="*", choices=[[], *BUDGET_MINUTES], metavar="ROOM")
    chosen = parser.parse_args(arguments)
    lines, failed = [], False
    for room in chosen.rooms or BUDGET_MINUTES:
        print(f"== {room}", flush=True)
        started = time.monotonic()
        code = _run(room, "long" if chosen.long else "not long")
        minutes = (time.monotonic() - started) / 60
        line = f"{room:<12} {_verdict(code):<6} {minutes:5.1f}"
        if not chosen.long:
            budget = BUDGET_MINUTES[room]
            line += f" of {budget} minutes{'  over budget' if minutes > budget else ''}"
        lines.append(line)
        failed |= _verdict(code) == "failed"
    print("\n".join(["== minutes" if chosen.long else "== budgets", *lines]))
    return int(failed)


def _run(room: str, marked: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-m", marked, str(FOLDER / room)]
    if room in SPREAD:
        command += ["-n", "2", "--dist", SPREAD[room]]
    return subprocess.run(command, cwd=FOLDER.parent, check=False).returncode


def _verdict(code: int) -> str:
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        return "none"
    return "failed" if code else "ok"


if __name__ == "__main__":
    sys.exit(main())
