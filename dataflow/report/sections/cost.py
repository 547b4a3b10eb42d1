"""What the build cost, by step, and what 512 billion tokens would cost at that speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.report.charts import bar
from dataflow.report.collect import Tally
from dataflow.report.markup import Safe, join, tag
from dataflow.report.numbers import bytes_, compact, count, duration, exact, percent, size
from dataflow.report.samples import clip
from dataflow.report.sections.flow import summed
from dataflow.report.sections.parts import Cell, Column, Row, section, table

TARGET = 512_000_000_000
"""Tokens of a training run that the page reckons with."""

CORES = (16, 64, 256, 1024, 4096)


def cost_section(tally: Tally, summary: Mapping[str, Any]) -> Safe:
    """Steps with their speeds, memory, and the reckoning."""
    steps = list(summary.get("steps") or [])
    seconds = sum(float(step.get("seconds") or 0) for step in steps)
    clock = "wall clock" if in_one_go(summary) else "wall clock of the last build"
    facts = [
        (clock, duration(float(summary.get("wall_seconds") or 0))),
        ("core time in steps", duration(seconds)),
        ("workers", compact(int(summary.get("workers") or 0))),
    ]
    if summary.get("peak_pss"):
        facts.append(("peak memory, all processes", size(float(summary["peak_pss"]))))
    return section(
        "cost",
        "What it cost",
        "Speeds are per core: what a step read, over the time its tasks took. Timings are of this "
        "run on this machine and are no part of its certificate.",
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts),
            class_="facts",
        ),
        _steps(steps, seconds),
        _reckoning(tally, seconds, summary),
    )


def in_one_go(summary: Mapping[str, Any]) -> bool:
    """Whether one build ran every task, so that its clock covers them all."""
    tasks = sum(int(step.get("tasks") or 0) for step in summary.get("steps") or [])
    return int(summary.get("executed", tasks)) >= tasks


def _steps(steps: list[Mapping[str, Any]], seconds: float) -> Safe:
    heads = [
        Column("Step", False),
        Column("Tasks"),
        Column("Core time"),
        Column("Of all", False),
        Column("Wall clock"),
        Column("Read"),
        Column("Written"),
        Column("MB/s a core"),
        Column("Documents/s a core"),
        Column("Peak memory", hint="Resident memory of the largest worker process"),
    ]
    rows = []
    for step in steps:
        spent = float(step.get("seconds") or 0)
        read, written = int(step.get("bytes_in") or 0), int(step.get("bytes_out") or 0)
        documents = int(step.get("documents") or 0)
        speed = read / spent / 1e6 if spent and read else 0.0
        rate = documents / spent if spent and documents else 0.0
        peak = int(step.get("peak_rss") or 0)
        tasks = int(step.get("tasks") or 0)
        wall = float(step.get("wall_seconds") or 0)
        rows.append(
            Row(
                [
                    clip(str(step["step"]), 40),
                    Cell(count(tasks), tasks),
                    Cell(duration(spent), spent),
                    Cell([bar(spent, seconds), " ", percent(spent, seconds)], spent, "with-bar"),
                    Cell(duration(wall), wall),
                    Cell(bytes_(read) if read else "–", read),
                    Cell(bytes_(written), written),
                    Cell(compact(speed) if speed else "–", speed),
                    Cell(compact(round(rate)) if rate else "–", rate),
                    Cell(size(peak) if peak else "–", peak),
                ]
            )
        )
    return table(heads, rows, "Steps in the order of the data's way.")


def _reckoning(tally: Tally, seconds: float, summary: Mapping[str, Any]) -> Safe:
    whole = summed(tally)
    if not whole.tokens or not seconds:
        return tag("p", "No tokens were kept, so there is no speed to reckon with.", class_="note")
    hours = seconds / whole.tokens * TARGET / 3600
    raw = whole.read.bytes / whole.tokens * TARGET
    busy = float(summary.get("wall_seconds") or 0) * int(summary.get("workers") or 0)
    heads = [Column(f"{exact(n)} cores") for n in CORES]
    row = Row([duration(hours * 3600 / n) for n in CORES])
    idle = (
        f" In this run the steps filled {percent(min(seconds, busy), busy)} of the time of its "
        "workers; the rest is starting up, waiting and writing the ledger."
        if busy and in_one_go(summary)
        else ""
    )
    return join(
        tag("h3", "What 512 billion tokens would cost"),
        tag(
            "p",
            "At the speed and the yield of this run, ",
            tag("b", f"{exact(round(hours))} core-hours"),
            f" for 512 B kept tokens, out of {size(raw)} of extracted text: "
            f"{compact(round(seconds / whole.tokens * 1e12 / 3600))} core-hours per trillion.",
            idle,
            " Sources of another yield, and larger partitions, change this.",
        ),
        table(heads, [row], "The same on more cores, were all of them busy.", sortable=False),
    )
