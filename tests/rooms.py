"""Runs the tests room by room and prints each room's time beside its budget.

``python -m tests.rooms [ROOM ...]``: exit code 0 when all rooms pass. A room over its budget is
named, not failed: a slow machine is no defect.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

BUDGET_MINUTES = {"kernels": 3, "dedup": 3, "quality": 3, "dataflow": 5, "benchmarks": 3}
"""Minutes on two cores, of 15 in all as the rooms fill."""
PROCESSES = {"kernels": 2}
"""Rooms whose tests are spread over processes; in the others a test takes both cores itself."""

FOLDER = Path(__file__).resolve().parent


def main(rooms: list[str]) -> int:
    """Run the tests of ``rooms`` (all of them when empty)."""
    unknown = sorted(set(rooms) - set(BUDGET_MINUTES))
    if unknown:
        print(f"found no room {', '.join(unknown)}, expected {', '.join(BUDGET_MINUTES)}")
        return 2
    lines = []
    failed = False
    for room in rooms or BUDGET_MINUTES:
        print(f"== {room}", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", str(FOLDER / room)]
        if room in PROCESSES:
            command += ["-n", str(PROCESSES[room]), "--dist", "loadgroup"]
        code = subprocess.run(command, cwd=FOLDER.parent, check=False).returncode
        minutes = (time.monotonic() - started) / 60
        budget = BUDGET_MINUTES[room]
        over = "  over budget" if minutes > budget else ""
        lines.append(
            f"{room:<12} {'failed' if code else 'ok':<6} {minutes:5.1f} of {budget} minutes{over}"
        )
        failed |= code != 0
    print("\n".join(["== budgets", *lines]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
