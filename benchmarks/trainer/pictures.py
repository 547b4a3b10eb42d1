"""Images from a run's shards to batches: read, decoded, cut into tiles; by one core, by all, and
beside a training loop that launches kernels (`beside_launches`).

Beside it stands what one H200 takes of them, where `tiles` has recorded that: it says how many
cores feed twice as much. Normalising is the device's work (``trainer.vision.pixels``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import ROOT, Options, Report, seconds
from benchmarks.results import read_lines
from benchmarks.trainer import beside_launches
from benchmarks.trainer.shown_run import build_run, name_of, size_of
from mixtures.plan import Component, Plan, PlanSpec
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus

TILES = (2, 5, 10)
IMAGES = 200
"""Of each number of tiles."""
LENGTH = 32_768
STEPS, SEQUENCES = 16, 2
MODEL = "400m-vl"
RESULTS = ROOT / "benchmarks" / "trainer" / "results.jsonl"
CORES = 16
"""Of a node, to each of its GPUs."""
SPARE = 2
"""Times what a GPU takes: what a loader is to bring."""


def run(report: Report, options: Options) -> None:
    """Build the run, where it is not there, and read each source of it."""
    tiles = TILES[: options.size(len(TILES), 1)]
    images = options.size(IMAGES, 30)
    corpus = build_run(options.scratch / f"pictures-{images}", tiles, images)
    taken = _taken()
    if not taken:
        report.note("no H200 has run `python -m benchmarks.trainer tiles`: no cores are counted")
    for count in tiles:
        _source(report, options, corpus, count, "released28", taken)
    # The first stage squeezes every image into one tile: those of 5 tiles have 0.45 megapixels.
    _source(report, options, corpus, tiles[min(1, len(tiles) - 1)], "fixed336", taken)
    beside_launches.run(report, options)


def _source(
    report: Report, options: Options, folder: Path, tiles: int, tiling: str, taken: dict[int, float]
) -> None:
    """One source by one tiling: by a core, by all, and beside steps that only sleep."""
    steps = options.size(STEPS, 2)
    spec = PlanSpec(
        length=LENGTH,
        tokens=LENGTH * SEQUENCES * steps,
        components=(Component(name="all", sources=(name_of(tiles),), weight=1, epochs=1000),),
        packing="whole",
        tiling=tiling,
    )
    plan = Plan.compile(str(folder), spec, out=options.scratch / "pictures-plans")
    shown = 1 if tiling == "fixed336" else tiles
    name = f"{shown} {'tile' if shown == 1 else 'tiles'} of images of {size_of(tiles)}²"
    with Corpus.open(folder, verify="size") as corpus:
        with _one_core():
            images, one, cpu = _walk(plan, corpus, steps)
        # By the core's own time: what else runs on the machine takes none of it.
        rate = images / cpu
        tokens = LENGTH * SEQUENCES * (steps - 1)
        report.add(f"{name}: a second of one core", rate, "images", cores=1)
        report.add(f"{name}: a second of one core", rate * shown, "tiles", cores=1)
        report.add(f"{name}: a second of one core", tokens / cpu, "tokens", cores=1)
        cores = len(os.sched_getaffinity(0))
        _, every, _ = _walk(plan, corpus, steps)
        report.add(f"{name}: {cores} cores", images / every, "images/s")
        report.add(f"{name}: {cores} cores beside one", one / every, "times")
        waited = _beside_steps(plan, corpus, steps, SPARE * every / (steps - 1))
        report.add(f"{name}: waited, beside steps twice as long", 100 * waited, "%")
    if shown in taken:
        report.add(f"{name}: one H200 takes, {MODEL}", taken[shown], "images/s")
        needed = SPARE * taken[shown] / rate
        report.add(f"{name}: cores that bring twice as many", needed, "cores", cores=1)


def _walk(plan: Plan, corpus: Corpus, steps: int) -> tuple[int, float, float]:
    """Images of all steps but the first, read as fast as it goes, their seconds and CPU seconds."""
    with Batches(plan, corpus, ahead=1) as batches:
        batches.step(0, SEQUENCES)
        found = 0

        def rest() -> None:
            nonlocal found
            for number in range(1, steps):
                for batch in batches.step(number * SEQUENCES, SEQUENCES):
                    found += 0 if batch.images is None else len(batch.images.plans)

        before = time.process_time()
        taken = seconds(rest)
        return found, taken, time.process_time() - before


def _beside_steps(plan: Plan, corpus: Corpus, steps: int, length: float) -> float:
    """Of the time of steps that sleep, the part that they waited; the first is not read ahead."""
    waited = begun = 0.0
    with Batches(plan, corpus) as batches:
        for number in range(steps):
            batches.step(number * SEQUENCES, SEQUENCES)
            if number:
                waited += batches.last_wait_seconds
            else:
                begun = time.perf_counter()
            time.sleep(length)
    return waited / (time.perf_counter() - begun)


def _taken() -> dict[int, float]:
    """Images a second that one H200 takes, by their tiles, as was recorded last."""
    found: dict[int, float] = {}
    for line in read_lines(RESULTS):
        words = line.metric.removeprefix(f"{MODEL}, ").split(", ")
        if line.bench == "trainer/tiles" and line.unit == "images/s":
            found[int(words[1].split()[0])] = line.value
    return found


@contextmanager
def _one_core() -> Iterator[None]:
    """Threads that begin inside run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
