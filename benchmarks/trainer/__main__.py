"""``python -m benchmarks.trainer [NAME …]``: the trainer's benchmarks, one JSON line a result."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import ONE_THREAD, ROOT, Options, Report, machine, pin
from benchmarks.trainer.cases import TRAINER_CASES

RESULTS = ROOT / "benchmarks" / "trainer" / "results.jsonl"
PACKAGES = ("torch", "megatron-core", "numba", "numpy", "pyarrow")
"""Whose versions have a say in a figure."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = "\n".join(f"  {case.name:<12} {case.summary}" for case in TRAINER_CASES.values())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trainer",
        description="Measure the trainer; one JSON line a result is appended to\n"
        "benchmarks/trainer/results.jsonl, which `python -m benchmarks results` renders.",
        epilog=f"benchmarks (default: each of these):\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", choices=[[], *TRAINER_CASES], metavar="NAME")
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs" / "bench" / "trainer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test on small input; records nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of text")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0, or 1 when a benchmark failed."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parse(arguments)
    names = list(dict.fromkeys(chosen.names)) or list(TRAINER_CASES)
    if len(names) > 1:
        # Each in a process of its own: pinning and thread counts are set before any import.
        flags = [argument for argument in arguments if argument not in TRAINER_CASES]
        return max(_in_a_process(name, flags) for name in names)
    return _run(names[0], chosen)


def _in_a_process(name: str, flags: list[str]) -> int:
    status = subprocess.run(
        [sys.executable, "-m", "benchmarks.trainer", name, *flags], cwd=ROOT, check=False
    ).returncode
    if status:
        print(f"benchmark {name} failed", file=sys.stderr)
    return 1 if status else 0


def _run(name: str, chosen: argparse.Namespace) -> int:
    case = TRAINER_CASES[name]
    options = Options(scratch=chosen.scratch.resolve(), quick=chosen.quick, seed=chosen.seed)
    cores = len(os.sched_getaffinity(0))
    if case.one_core:
        os.environ.update(ONE_THREAD)
        pin()
        cores = 1
    report = Report(case.bench, cores, None if chosen.quick else RESULTS, json_only=chosen.json)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    report.add(f"machine: {machine()}, {versions}", os.cpu_count() or 1, "cores")
    options.scratch.mkdir(parents=True, exist_ok=True)
    case.run(report, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
