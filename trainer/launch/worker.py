"""One rank's process: ``python -m trainer.launch.worker FILE ARGUMENTS``.

Runs ``python -m trainer ARGUMENTS`` as the rank that its environment names, and saves how that
ended in FILE, for the launcher to tell. The launcher holds the other end of standard input: when it
is gone, however it died, the rank is asked to save and end, so that no rank outlives its run.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from trainer.launch.ending import Ending
from trainer.quiet import quieten

PEER_GONE = ("by peer", "Broken pipe", "DistBackendError", "DistNetworkError", "DistStoreError")
"""Parts of what gloo, nccl and the store raise in a rank when another one is gone."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; an error is saved, and shown by the launcher once for all ranks."""
    file, *rest = arguments
    # A rank that is no further than its imports may end at once, as on SIGTERM; what Ray starts is
    # deaf to SIGINT.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=end_with_launcher, daemon=True).start()
    quieten()
    from trainer.command import exit_code, parser

    options = parser().parse_args(rest)
    options.processes = options.ray = None
    try:
        code: int = options.run(options)
    except Exception as error:  # noqa: BLE001 - saved, and told by the launcher
        ending = _failure(error, exit_code(error))
    else:
        ending = Ending("done", code)
    ending.save(Path(file))
    sys.stdout.flush()
    sys.stderr.flush()
    if ending.is_failure:
        os._exit(ending.code)  # what it holds of process groups may wait for ranks that are gone
    return ending.code


def _failure(error: Exception, code: int | None) -> Ending:
    if code is not None:
        return Ending("refused", code, str(error))
    text = "".join(traceback.format_exception(error)).rstrip()
    told = text.rsplit("\n", 1)[-1] + str(error)
    gone = any(part in told for part in PEER_GONE)
    return Ending("followed" if gone else "crashed", 1, text)


def end_with_launcher() -> None:
    """Ask this process to end when the launcher's end of standard input is closed."""
    while os.read(0, 1 << 10):
        pass
    # A line that nobody can read any more would be an error, before the rank has saved.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if not stat.S_ISREG(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
