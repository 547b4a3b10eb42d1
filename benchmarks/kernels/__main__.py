"""``python -m benchmarks.kernels [NAME …]``: one table, result lines and a plot, on a CUDA GPU."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import ROOT
from benchmarks.kernels.cases import KERNEL_CASES

FOLDER = ROOT / "benchmarks" / "kernels"
RESULTS, PLOT = "results.jsonl", "time-per-token.svg"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = "\n".join(f"  {case.name:<14} {case.summary}" for case in KERNEL_CASES.values())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels",
        description="Time the tensor kernels beside others and beside the floor.\n"
        "ms: one call, the second-level cache cleared (median). in a row: one of many calls.\n"
        "/ floor: against copying the same tensors, or the matrix products alone.\n"
        "GB/s, TFLOP/s: of the bytes and operations that no version can save.",
        epilog=f"benchmarks:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", choices=[[], *KERNEL_CASES], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small sizes; records nothing")
    parser.add_argument(
        "--out", type=Path, default=FOLDER, help=f"folder of {RESULTS} (appended to) and {PLOT}"
    )
    parser.add_argument(
        "--plot", action="store_true", help=f"only draw {PLOT} again from {RESULTS}; no GPU needed"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 2 where there is no GPU."""
    chosen = parse(arguments)
    if chosen.plot:
        return _plot(chosen.out)
    import torch

    if not torch.cuda.is_available():
        print("found no CUDA GPU, which these benchmarks need", file=sys.stderr)
        return 2
    from benchmarks.kernels.clock import GpuClock
    from benchmarks.kernels.shapes import FULL, QUICK
    from benchmarks.kernels.table import Table

    chosen.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda")
    table = Table(None if chosen.quick else chosen.out / RESULTS)
    count = torch.cuda.get_device_properties(device).multi_processor_count
    for name in chosen.names or KERNEL_CASES:
        table.begin(name, machine(), count)
        KERNEL_CASES[name].run(table, GpuClock(), device, QUICK if chosen.quick else FULL)
        torch.cuda.empty_cache()
    if not chosen.quick and (not chosen.names or "lightning" in chosen.names):
        _plot(chosen.out)
    return 0


def machine() -> str:
    """The GPU, and the versions of everything that has a say in a figure."""
    import torch
    import triton

    from benchmarks.kernels.peers import described

    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, Triton {triton.__version__}"
    return f"{torch.cuda.get_device_name()}, {versions}, {described()}"


def _plot(folder: Path) -> int:
    """Draw the plot where matplotlib is installed; 1 where it is not."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        again = f"python -m benchmarks.kernels --plot --out {folder}"
        print(f"no plot: found no matplotlib; where it is installed: {again}")
        return 1
    from benchmarks.kernels.plot import draw
    from benchmarks.results import latest_runs, read_lines

    draw(latest_runs(read_lines(folder / RESULTS)).get("lightning", []), folder / PLOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
