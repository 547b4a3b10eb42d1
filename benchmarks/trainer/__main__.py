"""``python -m benchmarks.trainer [NAME …]``: the trainer's benchmarks, one JSON line a result."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import ONE_THREAD, ROOT, Report, machine, pin
from benchmarks.trainer.cases import TRAINER_CASES
from benchmarks.trainer.options import TrainerOptions

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
        epilog="benchmarks (default: all but plan_scale and those that need a GPU):\n" + names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", choices=[[], *TRAINER_CASES], metavar="NAME")
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs" / "bench" / "trainer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test on small input; records nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of text")
    parser.add_argument(
        "--model",
        help="of tiles and questions: a name or a file; of swapped_captions: a run's folder",
    )
    parser.add_argument(
        "--corpus", type=Path, default=ROOT / "runs" / "quickstart", metavar="RUN",
        help="of questions: what the model reads first (default: runs/quickstart)",
    )  # fmt: skip
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda",
        help="of tiles and questions, cpu only for a test; and of swapped_captions",
    )  # fmt: skip
    parser.add_argument(
        "--documents", type=_count, metavar="N",
        help="of plan_scale: of the index that is made, as 10M (default: 100M); it is kept in the "
        "scratch folder for the next time",
    )  # fmt: skip
    return parser.parse_args(arguments)


def _count(written: str) -> int:
    """10M is ten million."""
    units = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
    number, unit = (written[:-1], units[written[-1]]) if written[-1:] in units else (written, 1)
    found = int(number) * unit
    if found < 1000:
        raise ValueError(f"found {written}, expected 1000 documents or more")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0, 1 when a benchmark failed, 2 without its GPU."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parse(arguments)
    usual = [name for name, case in TRAINER_CASES.items() if not case.gpu and not case.large]
    names = list(dict.fromkeys(chosen.names)) or usual
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
    if case.gpu and chosen.device == "cuda" and not _has_gpu():
        print(f"benchmark {name}: found no CUDA GPU, expected one, as an H200", file=sys.stderr)
        return 2
    options = TrainerOptions(
        scratch=chosen.scratch.resolve(),
        quick=chosen.quick,
        seed=chosen.seed,
        model=chosen.model,
        corpus=chosen.corpus.resolve(),
        device=chosen.device,
        documents=chosen.documents,
    )
    cores = len(os.sched_getaffinity(0))
    if case.one_core:
        os.environ.update(ONE_THREAD)
        pin()
        cores = 1
    unrecorded = chosen.quick or (case.gpu and chosen.device == "cpu")
    report = Report(case.bench, cores, None if unrecorded else RESULTS, json_only=chosen.json)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    report.add(f"machine: {machine()}, {versions}", os.cpu_count() or 1, "cores")
    options.scratch.mkdir(parents=True, exist_ok=True)
    case.run(report, options)
    return 0


def _has_gpu() -> bool:
    import torch  # only here: threads of other cases are set before it is imported

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
