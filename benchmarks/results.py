"""``RESULTS.md`` from the result lines: the latest run of each benchmark, misses included."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.aims import AIMS, aim_of
from benchmarks.cases import CASES
from benchmarks.harness import Line
from benchmarks.kernels.cases import KERNEL_CASES
from benchmarks.trainer.cases import TRAINER_CASES

MACHINE, INPUT = "machine: ", "input: "
_HEAD = """# Results

Written by `python -m benchmarks results` from [`results.jsonl`](results.jsonl), for kernels on a
GPU [`kernels/results.jsonl`](kernels/results.jsonl), and for the trainer
[`trainer/results.jsonl`](trainer/results.jsonl): the latest run of each benchmark. A peer is timed
in the same run, turn by turn with us, on the same core; on a GPU one after the other. Figures are
medians. *Ratio* is our figure divided by the peer's. How to run: [`README.md`](README.md).
"""


def read_lines(path: Path) -> list[Line]:
    """The lines of a results file, oldest first.

    Raises
    ------
    ValueError
        Naming the line that is no result.
    """
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            lines.append(Line(**json.loads(text)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}:{number}: not a result line: {error}") from error
    return lines


def latest_runs(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """The lines of each benchmark's last run; a run begins with the line about its machine."""
    runs: dict[str, list[Line]] = {}
    for line in lines:
        if line.metric.startswith(MACHINE) or line.bench not in runs:
            runs[line.bench] = []
        runs[line.bench].append(line)
    return runs


def render(lines: Iterable[Line]) -> str:
    """The page."""
    runs = latest_runs(lines)
    parts = [_HEAD, _aims(runs)]
    parts += [_section(name, runs[name]) for name in CASES if name in runs]
    parts += [_kernel_section(name, runs[name]) for name in KERNEL_CASES if name in runs]
    for case in TRAINER_CASES.values():
        if case.bench in runs:
            command = f"python -m benchmarks.trainer {case.name}"
            parts.append(_cored_section(case.bench, case.summary, command, runs[case.bench]))
    return "\n".join(parts)


def write_results(sources: Iterable[Path], target: Path) -> None:
    """Render the ``sources`` that exist into ``target``."""
    lines = [line for source in sources if source.exists() for line in read_lines(source)]
    target.write_text(render(lines), encoding="utf-8")


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _verdict(line: Line) -> str:
    aim = aim_of(line)
    if aim is None:
        return ""
    return f"{aim}: {'met' if aim.met(line) else '**missed**'}"


def _aims(runs: dict[str, list[Line]]) -> str:
    rows = ["## Aims", "", "| benchmark | metric | aim | found | |", "|---|---|---|---|---|"]
    for aim in AIMS:
        found = [line for line in runs.get(aim.bench, []) if aim.applies(line)]
        if not found:
            rows.append(f"| {aim.bench} | {aim.metric} | {aim} | | not measured |")
            continue
        line = found[-1]
        value = line.value if aim.of == "value" else line.ratio
        text = "" if value is None else _number(value)
        text += f" {line.unit}" if aim.of == "value" else " ×"
        rows.append(
            f"| {aim.bench} | {aim.metric} | {aim} | {text} "
            f"| {'met' if aim.met(line) else '**missed**'} |"
        )
    return "\n".join(rows) + "\n"


def _section(name: str, lines: list[Line]) -> str:
    facts, _ = _facts(lines)
    pages = " --pages FOLDER" if any("real pages" in line.metric for line in facts) else ""
    command = f"python -m benchmarks {name}{pages}"
    return _cored_section(name, CASES[name].summary.capitalize(), command, lines)


def _cored_section(name: str, summary: str, command: str, lines: list[Line]) -> str:
    """A benchmark whose lines tell how many cores they are of."""
    facts, rest = _facts(lines)
    out = [f"## {name}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
    out.append(f"Command: `{command}`, commit `{lines[0].commit}`.")
    out += _stated(facts)
    out += ["", "| metric | value | cores | ratio | to | aim |", "|---|---:|---:|---:|---|---|"]
    for line in rest:
        out.append(
            f"| {line.metric} | {_number(line.value)} {line.unit} | {line.cores} | {_ratio(line)} "
            f"| {line.peer or ''} | {_verdict(line)} |"
        )
    return "\n".join(out) + "\n"


def _kernel_section(name: str, lines: list[Line]) -> str:
    facts, rest = _facts(lines)
    summary = KERNEL_CASES[name].summary
    out = [f"## {name}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
    out.append(f"Command: `python -m benchmarks.kernels {name}`, commit `{lines[0].commit}`.")
    out += _stated(facts)
    if name == "lightning":
        out += ["", "![Time per token and head over length](kernels/time-per-token.svg)"]
    out += ["", "| metric | value | ratio | to | aim |", "|---|---:|---:|---|---|"]
    for line in rest:
        out.append(
            f"| {line.metric} | {_number(line.value)} {line.unit} | {_ratio(line)} "
            f"| {line.peer or ''} | {_verdict(line)} |"
        )
    return "\n".join(out) + "\n"


def _facts(lines: list[Line]) -> tuple[list[Line], list[Line]]:
    """Lines about the machine and the input, and the results."""
    facts = [line for line in lines if line.metric.startswith((MACHINE, INPUT))]
    return facts, [line for line in lines if line not in facts]


def _stated(facts: list[Line]) -> list[str]:
    parts = [(*line.metric.split(": ", 1), f"{_number(line.value)} {line.unit}") for line in facts]
    return [f"{prefix.capitalize()}: {text}, {amount}." for prefix, text, amount in parts]


def _ratio(line: Line) -> str:
    return "" if line.ratio is None else f"{_number(line.ratio)} ×"
