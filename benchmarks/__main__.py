"""``python -m benchmarks NAME …``: run benchmarks by name, ``all`` of them, or write the results.

Everything heavy is imported after the process is pinned and told to use one thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.harness import ONE_THREAD, RESULTS, ROOT, Options, Report, machine, pin


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = "\n".join(f"  {case.name:<14} {case.summary}" for case in CASES.values())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the engine beside its peers; one JSON line a result is appended to\n"
        "benchmarks/results.jsonl.",
        epilog=f"benchmarks:\n{names}\n  {'all':<14} each of these that needs no GPU\n"
        f"  {'results':<14} write benchmarks/RESULTS.md from benchmarks/results.jsonl",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=[*CASES, "all", "results"], metavar="NAME")
    parser.add_argument(
        "--pages",
        type=Path,
        action="append",
        default=[],
        help="folder of real web pages to make web input of; may be repeated (else synthetic)",
    )
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs" / "bench")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test on small input; records nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of text")
    return parser.parse_args(arguments)


def main() -> int:
    """Run what the command line asks for; 0, or 1 when a benchmark failed."""
    chosen = parse()
    if "results" in chosen.names:
        from benchmarks.results import write_results

        folder = ROOT / "benchmarks"
        sources = (RESULTS, *(folder / room / "results.jsonl" for room in ("kernels", "trainer")))
        write_results(sources, folder / "RESULTS.md")
        return 0
    usual = [name for name, case in CASES.items() if not case.gpu]
    names = usual if "all" in chosen.names else list(dict.fromkeys(chosen.names))
    if len(names) > 1:
        # Each in a process of its own: pinning and thread counts are set before any import.
        return max(_in_a_process(name) for name in names)
    return _run(names[0], chosen)


def _in_a_process(name: str) -> int:
    flags = [a for a in sys.argv[1:] if a not in CASES and a != "all"]
    status = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, *flags], cwd=ROOT, check=False
    ).returncode
    if status:
        print(f"benchmark {name} failed", file=sys.stderr)
    return 1 if status else 0


def _run(name: str, chosen: argparse.Namespace) -> int:
    case = CASES[name]
    options = Options(
        pages=tuple(folder.resolve() for folder in chosen.pages),
        scratch=chosen.scratch.resolve(),
        repeats=1 if chosen.quick else chosen.repeats,
        quick=chosen.quick,
        seed=chosen.seed,
    )
    cores = len(os.sched_getaffinity(0))
    if case.one_core:
        os.environ.update(ONE_THREAD)
        pin()
        cores = 1
        import pyarrow as pa

        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
    report = Report(name, cores, None if chosen.quick else RESULTS, json_only=chosen.json)
    report.add(f"machine: {machine()}", os.cpu_count() or 1, "cores")
    case.run(report, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
