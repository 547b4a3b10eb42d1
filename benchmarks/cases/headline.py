"""Web-shaped WARC files to shards, nothing left out of the timer; and datatrove doing the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.builds import BuildError, build, step_costs, verify
from benchmarks.harness import (
    ONE_THREAD,
    ROOT,
    Options,
    Report,
    interleave,
    peer_python,
    seconds,
)
from benchmarks.inputs import PAGES_PER_FILE, warcs
from benchmarks.recipes import TOKENIZER, web_source, write_recipe

WORKERS = 2
DATATROVE = "datatrove 0.10.1, no language id"


def run(report: Report, options: Options) -> None:
    """Build all pages with two workers; then the first file on one core beside datatrove."""
    folder, label = warcs(options)
    place = options.scratch / "headline"
    shutil.rmtree(place, ignore_errors=True)
    stored = sum(f.stat().st_size for f in folder.glob("*.warc.gz"))
    report.add(f"input: {label}, gzipped WARC", stored / 1e6, "MB")
    recipe = write_recipe(place, "headline", web_source(folder), partition_bytes=32 << 20)
    made = build(recipe, place / "run", WORKERS)
    verdict = verify(made.run)
    _whole(report, made.run, made.seconds, verdict)
    _stages(report, made.run, verdict)
    _against_datatrove(report, options, folder, place)


def kept_tokens(run: Path) -> int:
    """Tokens of all kept documents, from the manifest."""
    column = pq.read_table(run / "manifest.parquet", columns=["tokens"])["tokens"]
    return sum(value for value in column.to_pylist() if value is not None)


def _whole(report: Report, run: Path, taken: float, verdict: dict[str, Any]) -> None:
    pages, text = verdict["documents"]["read"], verdict["bytes"]["read"] / 1e6
    core_seconds = taken * WORKERS
    tokens = kept_tokens(run)
    report.add("pages", pages / core_seconds, "pages/s per core", cores=WORKERS)
    report.add("extracted text", text / core_seconds, "MB/s per core", cores=WORKERS)
    report.add("documents kept", verdict["documents"]["kept"] / pages, "fraction", cores=WORKERS)
    report.add(
        "cost of a trillion kept tokens",
        core_seconds / 3600 / tokens * 1e12,
        "core-hours",
        cores=WORKERS,
    )
    busy = sum(cost.seconds for cost in step_costs(run).values())
    report.add("time that workers spend in tasks", busy / core_seconds, "fraction", cores=WORKERS)


def _stages(report: Report, run: Path, verdict: dict[str, Any]) -> None:
    text = verdict["bytes"]["read"] / 1e6
    costs = step_costs(run)
    total = sum(cost.cpu_seconds for cost in costs.values())
    for step, cost in sorted(costs.items(), key=lambda item: -item[1].cpu_seconds):
        if cost.cpu_seconds > 0:
            report.add(f"{step}: extracted text", text / cost.cpu_seconds, "MB/s per core")
            report.add(f"{step}: share of processor time", cost.cpu_seconds / total, "fraction")


def _against_datatrove(report: Report, options: Options, folder: Path, place: Path) -> None:
    peer = str(peer_python())
    first = place / "first"
    first.mkdir()
    source = sorted(folder.glob("*.warc.gz"))[0]
    (first / source.name).symlink_to(source)
    recipe = write_recipe(place, "first", web_source(first))
    no_language = write_recipe(place, "first-no-language", web_source(first), language=False)
    runs: list[Path] = []
    kept: list[int] = []

    def ours(path: Path) -> float:
        run = place / f"run-{len(runs)}"
        runs.append(run)
        words = ["build", str(path), "--out", str(run), "--workers", "0", "--json"]
        log = place / "ours.log"
        return seconds(lambda: _on_one_core([sys.executable, "-m", "dataflow", *words], log))

    def theirs() -> float:
        out = place / "datatrove"
        shutil.rmtree(out, ignore_errors=True)
        command = [peer, "-m", "benchmarks.peers.datatrove_web"]
        command += ["--warcs", str(first), "--out", str(out)]
        command += ["--tokenizer", str(TOKENIZER / "tokenizer.json")]
        said: list[str] = []
        log = place / "theirs.log"
        taken = seconds(lambda: said.append(_on_one_core(command, log)))
        kept.append(int(json.loads(said[0])["kept"]))
        return taken

    # One run each beforehand: compiled code is cached and files are in memory for both.
    ours(recipe)
    theirs()
    taken = interleave(
        {
            "whole": lambda: ours(recipe),
            "theirs": theirs,
            "without language id": lambda: ours(no_language),
        },
        options.repeats,
    )
    verdict = verify(runs[-1])
    pages = verdict["documents"]["read"]
    report.add(f"input: pages of the comparison, of {PAGES_PER_FILE} at most", pages, "pages")
    for name in ("whole", "without language id"):
        report.add(
            f"one core, start-up included, {name}",
            pages / taken[name],
            "pages/s",
            peer=DATATROVE,
            ratio=taken["theirs"] / taken[name],
            cores=1,
        )
    report.add("kept by us and by the peer", verdict["documents"]["kept"], "documents",
               peer=DATATROVE, ratio=verdict["documents"]["kept"] / max(1, kept[-1]))  # fmt: skip


def _on_one_core(command: list[str], log: Path) -> str:
    core = max(os.sched_getaffinity(0))
    with log.open("ab") as errors:
        done = subprocess.run(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} ended with status {done.returncode}; see {log}")
    return done.stdout
