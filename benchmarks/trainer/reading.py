"""What a step waits for its data, and how much it reads: from a disk, and from S3 on loopback.

A step is made of sleep, as a GPU's is for the process that feeds it. A shard's hash is checked once
in each process, ahead of the step that first reads it: a first walk through the plan is told apart
from later ones, which only read.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.harness import Options, Report, seconds
from benchmarks.trainer.loopback import loopback_bucket
from benchmarks.trainer.made_run import draw_lengths, make_run
from dataflow.shards.npy import HEADER
from dataflow.shards.tar import BLOCK
from dataflow.store import Store
from mixtures.plan import Component, Plan, PlanSpec
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus, Stretch

LENGTH = 8192
SEQUENCES = 16
"""Of a step: 131,072 tokens."""
L1 = 131_072
SHARDS = 16
MILLISECONDS = (20, 100, 500)
STEPS = 40


def run(report: Report, options: Options) -> None:
    """Read one plan from both places, against steps of some lengths, and as fast as it goes."""
    lengths = draw_lengths(options.size(20_000, 2_000), L1, options.seed)
    folder = make_run(options.scratch / "reading", lengths, shards=SHARDS, ids=True)
    size = sum(path.stat().st_size for path in folder.glob("shards/**/*.tar"))
    report.add(f"input: {SHARDS} token shards of {len(lengths):,} documents", size / 1e6, "MB")
    steps = options.size(STEPS, 4)
    components = (Component(name="all", weight=1, epochs=1000),)
    spec = PlanSpec(length=LENGTH, tokens=LENGTH * SEQUENCES * steps, components=components)
    plan = Plan.compile(folder, spec, out=options.scratch / "reading-plans")
    with loopback_bucket() as bucket:
        places = {
            "disk": Store(str(folder)),
            "S3 on loopback": Store(bucket.upload(folder, "reading"), bucket.options),
        }
        for place, store in places.items():
            _place(report, plan, store, place, steps, size)


def _place(report: Report, plan: Plan, store: Store, place: str, steps: int, size: int) -> None:
    with Corpus.open(store) as corpus:
        shards = [Stretch(shard, BLOCK + HEADER, 1) for shard in range(len(corpus.run.shards))]
        taken = seconds(lambda: corpus.read(shards))
        report.add(f"{place}: hashes of all shards checked", size / taken / 1e6, "MB/s")
    with Corpus.open(store) as corpus:
        name = f"{place}, steps of {MILLISECONDS[1]} ms, the first walk"
        waits = _walk(plan, corpus, steps, MILLISECONDS[1] / 1e3)
        report.add(f"{name}: waited, the first step", 1e3 * waits[0], "ms")
        report.add(f"{name}: waited, all others", 1e3 * sum(waits[1:]), "ms")
        with Batches(plan, corpus) as batches:
            taken = seconds(lambda: [batches.step(n * SEQUENCES, SEQUENCES) for n in range(steps)])
        rate = steps * SEQUENCES * LENGTH / taken / 1e6
        report.add(f"{place}: read as fast as it goes", rate, "M tokens/s")
        for milliseconds in MILLISECONDS:
            _against_steps(report, plan, corpus, place, steps, milliseconds)


def _against_steps(
    report: Report, plan: Plan, corpus: Corpus, place: str, steps: int, milliseconds: int
) -> None:
    """A walk in which only reading can be waited for; the first step is not read ahead."""
    reads, size = corpus.range_reads, corpus.bytes_read
    waits = _walk(plan, corpus, steps, milliseconds / 1e3)[1:]
    name = f"{place}, steps of {milliseconds} ms"
    starved = sum(waits) / (sum(waits) + milliseconds / 1e3 * len(waits))
    report.add(f"{name}: waited, of the time", 100 * starved, "%")
    report.add(f"{name}: waited, a step", 1e3 * statistics.median(waits), "ms")
    report.add(f"{name}: waited, the longest", 1e3 * max(waits), "ms")
    # What is read ahead ends with the plan, so all has been read by now.
    report.add(f"{name}: range reads a step", (corpus.range_reads - reads) / steps, "reads")
    report.add(f"{name}: read a step", (corpus.bytes_read - size) / steps / 1e6, "MB")


def _walk(plan: Plan, corpus: Corpus, steps: int, step_seconds: float) -> list[float]:
    """Seconds that each step waited, of a loop that sleeps in each."""
    waits = []
    with Batches(plan, corpus) as batches:
        for step in range(steps):
            batches.step(step * SEQUENCES, SEQUENCES)
            waits.append(batches.last_wait_seconds)
            time.sleep(step_seconds)
    return waits
