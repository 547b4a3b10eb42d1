"""A step that counts how often it ran, for tests of the runner and the executors."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from dataflow.tasks import Step, StepContext


def _run(context: StepContext) -> dict[str, Any]:
    log = Path(context.local["log"])
    with log.open("a") as out:
        out.write(context.name + "\n")
    if context.local.get("kill_once"):
        marker = Path(context.local["kill_once"])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if context.local.get("always_kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if context.params.get("fail"):
        raise RuntimeError("asked to fail")
    total = context.params.get("value", 0)
    for record in context.inputs("before") if "before" in context.job.inputs else []:
        with context.store.open(record.outputs["number"].path) as stream:
            total += int(stream.read())
    path = context.path("numbers", "txt")
    temporary = bool(context.params.get("temporary"))
    with context.create("number", path, kind="number", temporary=temporary) as sink:
        sink.write(str(total).encode())
    return {"total": total}


STEP = Step("toy", _run)
