"""What a build cost, by step: for the report and for machines. It enters no root."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from dataflow.journal import Record
from dataflow.tasks import STEP_MODULES


def summarise(
    header: Mapping[str, Any],
    records: Iterable[Record],
    snapshot: Mapping[str, Any],
    wall_seconds: float,
    executed: int,
) -> dict[str, Any]:
    """The build's ``journal/summary.json``.

    Parameters
    ----------
    header : of the run (``journal/run.json``).
    records : of every task behind the run, run now or earlier.
    snapshot : of the progress (``Progress.snapshot``).
    wall_seconds : of this build.
    executed : tasks that ran in it.
    """
    steps: dict[str, dict[str, Any]] = {}
    for record in records:
        step = steps.setdefault(record.step, _nothing(record.step))
        step["tasks"] += 1
        step["seconds"] += record.cost["seconds"]
        step["cpu_seconds"] += record.cost["cpu_seconds"]
        step["bytes_in"] += int(record.stats.get("raw_bytes", record.stats.get("text_bytes", 0)))
        step["bytes_out"] += sum(output.bytes for output in record.outputs.values())
        step["documents"] += int(record.stats.get("rows", record.stats.get("read", 0)))
        step["peak_rss"] = max(step["peak_rss"], record.cost["peak_rss"])
    walls = {s["step"]: max(s["last"] - s["first"], 0.0) for s in snapshot["steps"]}
    for name, step in steps.items():
        step["wall_seconds"] = walls.get(name) or step["seconds"]
    order = list(STEP_MODULES)
    return {
        "name": header["name"],
        "logical_root": header["logical_root"],
        "file_root": header["file_root"],
        "workers": snapshot["workers"],
        "cores": os.cpu_count(),
        "wall_seconds": wall_seconds,
        "peak_pss": snapshot["peak_pss"],
        "executed": executed,
        "steps": sorted(steps.values(), key=lambda step: order.index(step["step"])),
    }


def _nothing(step: str) -> dict[str, Any]:
    zeros = dict.fromkeys(
        ("tasks", "bytes_in", "bytes_out", "documents", "peak_rss", "seconds", "cpu_seconds"), 0
    )
    return {"step": step, **zeros}
