"""Where the time of a training step goes: a step under torch's profiler, as a table and a trace."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson
import torch

PARTS: tuple[tuple[str, str], ...] = (
    ("lightning attention", r"leyden::lightning"),
    ("softmax attention", r"flash|attention|leyden::rotary"),
    ("experts: products", r"leyden::experts_product|grouped_mm"),
    ("experts: order, rows, activation", r"leyden::experts"),
    ("head and loss", r"leyden::(linear|logit|rescaled)"),
    ("norms and gates", r"leyden::(add_rms|rms|norm)"),
    ("optimizer", r"adam|_foreach|multi_tensor|lerp|addcdiv|addcmul|^Optimizer"),
    ("communication", r"nccl|c10d|gloo"),
    ("projections and router", r"aten::(mm|addmm|bmm|matmul|linear)$"),
    ("copies", r"aten::(copy_|_to_copy|clone|fill_|zero_)|Memcpy|Memset"),
)
"""Parts of a step, and what the names of their operators look like; the first that fits counts."""

REST = "sums, sorts and other elementwise work"
_OPERATORS = 40
_NAME = 120
"""Characters of a kernel's name: those of templates take pages."""


class _Event(Protocol):
    """What is read of torch's ``FunctionEvent``."""

    name: str
    kernels: list[Any]
    cpu_parent: Any


@contextmanager
def profiled(folder: Path | None, step: int, device: torch.device) -> Iterator[None]:
    """Profile what runs inside and write ``step-N.json`` and ``step-N.trace.json.gz`` to a folder.

    The table has the device's seconds by part of the step and by operator (on a CPU, the
    operators' own seconds), the wall time, and how much of it the device worked. The trace opens in
    Perfetto or ``chrome://tracing``. The profiler slows the step it looks at: compare parts with
    each other, and take a step's time from ``metrics.jsonl``. With ``folder`` None nothing is done.
    """
    if folder is None:
        yield
        return
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        since = time.perf_counter()
        yield
        if on_gpu:
            torch.cuda.synchronize(device)
        wall = time.perf_counter() - since
    folder.mkdir(parents=True, exist_ok=True)
    found.export_chrome_trace(str(folder / f"step-{step}.trace.json.gz"))
    seconds = device_seconds(found.events()) if on_gpu else cpu_seconds(found.key_averages())
    table = {"step": step, "wall_seconds": wall} | summary(seconds, wall)
    if on_gpu:
        table["kernels"] = kernel_seconds(found.events())
    (folder / f"step-{step}.json").write_bytes(orjson.dumps(table, option=orjson.OPT_INDENT_2))


def device_seconds(events: Iterator[_Event] | Any) -> dict[str, float]:
    """Seconds of kernels by the operator that launched them.

    An operator of this project, or a step of an optimizer, counts with all that it calls; others by
    their innermost one.
    """
    found: dict[str, float] = {}
    for event in events:
        if not event.kernels:
            continue
        name = event.name
        above = event.cpu_parent
        while above is not None:
            if above.name.startswith(("leyden::", "Optimizer.step")):
                name = above.name
            above = above.cpu_parent
        microseconds = sum(kernel.duration for kernel in event.kernels)
        found[name] = found.get(name, 0.0) + microseconds / 1e6
    return found


def kernel_seconds(events: Iterator[_Event] | Any) -> dict[str, dict[str, float]]:
    """Seconds and launches of the kernels that take most, by name, largest first."""
    found: dict[str, dict[str, float]] = {}
    for event in events:
        for kernel in event.kernels:
            row = found.setdefault(kernel.name[:_NAME], {"seconds": 0.0, "launches": 0})
            row["seconds"] += kernel.duration / 1e6
            row["launches"] += 1
    return dict(sorted(found.items(), key=lambda item: -item[1]["seconds"])[:_OPERATORS])


def cpu_seconds(averages: Any) -> dict[str, float]:
    """Seconds of operators themselves, without what they call."""
    return {row.key: row.self_cpu_time_total / 1e6 for row in averages}


def summary(seconds: dict[str, float], wall: float) -> dict[str, Any]:
    """Seconds by part and of the operators that take most, largest first."""
    parts: dict[str, float] = {}
    for name, spent in seconds.items():
        part = part_of(name)
        parts[part] = parts.get(part, 0.0) + spent
    busy = sum(seconds.values())
    return {
        "busy_seconds": busy,
        "busy": busy / wall if wall > 0 else None,
        "parts": dict(sorted(parts.items(), key=lambda item: -item[1])),
        "operators": dict(sorted(seconds.items(), key=lambda item: -item[1])[:_OPERATORS]),
    }


def part_of(operator: str) -> str:
    """The part of a step that an operator belongs to."""
    for part, pattern in PARTS:
        if re.search(pattern, operator, re.IGNORECASE):
            return part
    return REST
