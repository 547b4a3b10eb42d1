"""The same recipe with other workers, partitions, folders and kills: the same logical root."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.determinism import VARIATIONS, build_variations
from benchmarks.harness import Options, Report
from benchmarks.inputs import generated_files
from benchmarks.recipes import documents_source, write_recipe


def run(report: Report, options: Options) -> None:
    """Build every variation of a recipe over generated documents."""
    count = options.size(20_000, 2_000)
    parts = generated_files(options, count, "jsonl")
    folder = options.scratch / "determinism"
    shutil.rmtree(folder, ignore_errors=True)

    def recipe(place: Path, partition_bytes: int) -> Path:
        source = documents_source(parts)
        return write_recipe(place, "determinism", source, partition_bytes=partition_bytes)

    variations = VARIATIONS[:2] if options.quick else VARIATIONS
    outcomes = build_variations(recipe, folder, variations, seed=options.seed, log=report.note)
    report.add(f"input: {count} generated documents, builds", len(outcomes), "builds")
    report.add("different logical roots", len({o.root for o in outcomes}), "roots")
    wrong = sum(o.counts != outcomes[0].counts for o in outcomes)
    report.add("builds that lost or doubled a document", wrong, "builds")
    report.add("kills that met a living process", sum(o.kills for o in outcomes), "kills")
