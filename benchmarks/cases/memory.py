"""Memory does not grow with the corpus: 100 thousand against 1 million generated documents."""

from __future__ import annotations

import shutil

from benchmarks.builds import Build, build
from benchmarks.harness import Options, Report
from benchmarks.inputs import generated_files
from benchmarks.recipes import documents_source, write_recipe

WORKERS = 2
PARTITION_BYTES = 4 << 20
"""Compressed; small enough that both workers are busy on the smaller set too."""


def run(report: Report, options: Options) -> None:
    """Build both and compare the largest sum of PSS."""
    sizes = options.size(100_000, 4_000), options.size(1_000_000, 8_000)
    _build(options, options.size(4_000, 1_000))  # a compiler's memory belongs to neither
    small, large = (_build(options, count) for count in sizes)
    for count, made in zip(sizes, (small, large), strict=True):
        report.add(f"input: {count} generated documents, built in", made.seconds, "s")
    metric = "peak PSS of the process tree"
    report.add(f"{metric}, the smaller set", small.peak_pss / 1e6, "MB", cores=WORKERS)
    report.add(
        f"{metric}, the larger set",
        large.peak_pss / 1e6,
        "MB",
        peer=f"{sizes[0]} documents",
        ratio=large.peak_pss / small.peak_pss,
        cores=WORKERS,
    )


def _build(options: Options, count: int) -> Build:
    parts = generated_files(options, count)
    folder = options.scratch / f"memory-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    recipe = write_recipe(
        folder, "memory", documents_source(parts), partition_bytes=PARTITION_BYTES
    )
    made = build(recipe, folder / "run", WORKERS, watch=0.5)
    shutil.rmtree(made.run)
    return made
