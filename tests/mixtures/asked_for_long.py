"""A room that does not end by itself: asked as ``python -m tests.mixtures.asked_for_long DIR``.

It starts a process in a group of its own, as Ray does, and one that does not obey SIGTERM, and
writes a file into DIR when all run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); "


def main() -> None:
    """Wait for a signal."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
    stubborn = subprocess.Popen(
        [sys.executable, "-c", STUBBORN + "time.sleep(600)"], stdout=subprocess.PIPE
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    (Path(sys.argv[1]) / "ready").touch()
    time.sleep(600)


if __name__ == "__main__":
    main()
