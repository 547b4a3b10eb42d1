"""The default recipe as a newcomer runs it: cold, two workers, time and memory."""

from __future__ import annotations

import shutil

from benchmarks.builds import build, step_costs, verify
from benchmarks.harness import ROOT, Options, Report

WORKERS = 2
RECIPE = ROOT / "recipes" / "quickstart.yaml"


def run(report: Report, options: Options) -> None:
    """Build the quickstart once into an empty folder, with no compiled code cached."""
    folder = options.scratch / "quickstart"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    removed = _forget_compiled_code()
    report.note(f"{removed} files of compiled code removed: the build is cold")
    made = build(RECIPE, folder / "run", WORKERS, watch=1.0)
    verdict = verify(made.run)
    report.add("input: text read", verdict["bytes"]["read"] / 1e6, "MB")
    report.add("cold build", made.seconds, "s", cores=WORKERS)
    report.add("peak PSS of the process tree", made.peak_pss / 1e6, "MB", cores=WORKERS)
    report.add("text", verdict["bytes"]["read"] / 1e6 / made.seconds / WORKERS, "MB/s per core")
    for step, cost in step_costs(made.run).items():
        report.add(f"processor time, {step}", cost.cpu_seconds, "s", cores=WORKERS)
    warm = build(RECIPE, folder / "again", WORKERS)
    report.add("the same, compiled code cached", warm.seconds, "s", cores=WORKERS)
    same = verify(warm.run)["root_hash"] == verdict["root_hash"]
    report.add("the two have one logical root", float(same), "1 is yes")


def _forget_compiled_code() -> int:
    """Remove Numba's caches of the kernels; they are made again by whoever needs them."""
    cached = [p for s in ("*.nbi", "*.nbc") for p in (ROOT / "kernels").rglob(s)]
    cached += [p for s in ("*.nbi", "*.nbc") for p in (ROOT / "dedup").rglob(s)]
    for path in cached:
        path.unlink(missing_ok=True)
    return len(cached)
