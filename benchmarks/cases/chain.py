"""Text to shards in one process on one core, and what its parts come to one after the other.

The parts are timed alone on the same documents: reading the source, writing and decoding Parquet
once, the scan, language identification, and encoding (as much of it as the build keeps). What the
chain loses against their harmonic sum is everything else: ids and hashes, the ledger,
deduplication, packing, the journal, and every further time that a table is written and read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.builds import StepCost, build, step_costs, verify
from benchmarks.cases.parquet_floor import FLOOR, floor_of
from benchmarks.harness import Options, Report, harmonic_rate, interleave, seconds
from benchmarks.inputs import Texts, web_texts
from benchmarks.recipes import TOKENIZER, write_recipe
from dataflow.sources import SourceSpec, plan, read
from dataflow.tokenizer import Tokenizer
from kernels.text import scan
from kernels.text.minhash import minhash_params
from quality.language import identify

CHAIN_PAGES = 12_000
"""Enough text that loading compiled code, models and tokenizers, once a process, weighs little."""

SIFTING = ("scan", "decide", "order", "buckets", "candidates", "shingles", "near")
"""The steps from a documents table to the verdict on each document, but for the language."""

READ, SCAN, LANGUAGE, ENCODE = "read the source", "scan", "language", "encode"


def run(report: Report, options: Options) -> None:
    """Build from a Parquet file of texts, and time the parts in between."""
    texts = web_texts(options, CHAIN_PAGES).head(options.size(80_000_000, 300_000))
    megabytes = texts.bytes / 1e6
    report.add(f"input: {texts.label}", megabytes, "MB")
    folder = options.scratch / "chain"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parquet = folder / "texts.parquet"
    pq.write_table(pa.table({"text": texts.array}), parquet, row_group_size=2000)
    recipe = write_recipe(folder, "chain", {"paths": [str(parquet)], "format": "parquet"})
    costs: list[dict[str, StepCost]] = []

    def chain() -> float:
        run = folder / f"run-{len(costs)}"
        made = build(recipe, run, workers=0)
        costs.append(step_costs(run))
        return made.seconds

    chain()  # compiled code and files get warm
    sizes = verify(folder / "run-0")["bytes"]
    kept = sizes["kept"] / sizes["read"]
    parts = _parts(texts, parquet)
    taken = interleave({"chain": chain, **parts}, options.repeats)
    costs = sorted(costs[1:], key=_in_tasks)
    steps = costs[len(costs) // 2]

    for name in parts:
        report.add(f"part alone: {name}", megabytes / taken[name], "MB/s")
    spent = {name: taken[name] * (kept if name == ENCODE else 1.0) for name in parts}
    expected = harmonic_rate([megabytes / time for time in spent.values()])
    found = megabytes / _in_tasks(steps)
    report.add("text kept", kept, "fraction")
    report.add(
        "whole chain", found, "MB/s", peer="its parts one after the other", ratio=found / expected
    )
    report.add("whole chain, start-up included", megabytes / taken["chain"], "MB/s")
    sifting = sum(steps[step].seconds for step in SIFTING if step in steps)
    report.add("scan, decide and dedup", megabytes / sifting, "MB/s")
    share = steps["language"].seconds / _in_tasks(steps)
    report.add("language, share of the chain", share, "fraction")
    for step, cost in sorted(steps.items(), key=lambda item: -item[1].seconds):
        if cost.seconds > 0:
            ratio = taken[FLOOR] / cost.seconds
            report.add(f"step: {step}", megabytes / cost.seconds, "MB/s", peer=FLOOR, ratio=ratio)


def _in_tasks(steps: dict[str, StepCost]) -> float:
    """Seconds that a build spent in tasks."""
    return sum(cost.seconds for cost in steps.values())


def _parts(texts: Texts, parquet: Path) -> dict[str, Callable[[], float]]:
    """A timed run of each part, after a first one that is not counted."""
    spec = SourceSpec("input", paths=(str(parquet),), format="parquet")
    tokenizer = Tokenizer.load(TOKENIZER)
    strings: list[str] = texts.array.to_pylist()
    params = minhash_params()

    def reading() -> None:
        for partition in plan(spec, 1 << 34):
            for _ in read(spec, partition):
                pass

    work: dict[str, Callable[[], object]] = {
        READ: reading,
        SCAN: lambda: scan(texts.data, texts.offsets, params),
        LANGUAGE: lambda: identify(texts.array),
        ENCODE: lambda: tokenizer.encode_batch(strings),
    }
    few = texts.head(100_000)
    scan(few.data, few.offsets, params)
    timed = {name: _timed(task) for name, task in work.items()}
    return {**timed, FLOOR: floor_of(texts)}


def _timed(task: Callable[[], object]) -> Callable[[], float]:
    return lambda: seconds(task)
