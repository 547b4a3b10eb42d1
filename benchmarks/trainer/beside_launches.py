"""What loading small images costs a step that launches kernels, by threads and by processes.

A step on a GPU is bound by the interpreter where its kernels are small: what stands for it here is
as many small operations of torch as take a step's time alone, and then a sleep, as of a loop that
waits for its device. Images are small and many, so that Python around their decoding counts.
"""

from __future__ import annotations

import os
import statistics
import time

import torch

from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.trainer.shown_run import SMALL, SMALL_SIDE, build_small_run
from mixtures.plan import Component, Plan, PlanSpec
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus

IMAGES = 1600
LENGTH, SEQUENCES = 8192, 4
"""Of a step: some 300 images."""
STEPS, BEGIN = 12, 2
"""Of each turn, and how many of them are not counted."""
LAUNCHES_SECONDS, WAITS_SECONDS = 0.24, 0.03
"""Of a step alone."""
_TRIED = 50_000


def run(report: Report, options: Options) -> None:
    """Build the run, where it is not there, and take steps without images and with them."""
    images = options.size(IMAGES, 60)
    steps = options.size(STEPS, BEGIN + 2)
    folder = build_small_run(options.scratch / f"small-pictures-{images}", images)
    spec = PlanSpec(
        length=LENGTH,
        tokens=LENGTH * SEQUENCES * steps,
        components=(Component(name="all", sources=(SMALL,), weight=1, epochs=1000),),
        packing="whole",
        tiling="tiny56",
    )
    plan = Plan.compile(str(folder), spec, out=options.scratch / "pictures-plans")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _launch(_TRIED)
        launches = int(LAUNCHES_SECONDS * _TRIED / seconds(lambda: _launch(_TRIED)))
        with Corpus.open(folder, verify="size") as corpus:
            _report(report, options, plan, corpus, steps, launches)
    finally:
        torch.set_num_threads(threads)


def _report(
    report: Report, options: Options, plan: Plan, corpus: Corpus, steps: int, launches: int
) -> None:
    shown, cpu = 0, dict.fromkeys((False, True), 0.0)

    def without() -> float:
        return statistics.median(seconds(lambda: _train(launches)) for _ in range(steps))

    def beside(processes: bool) -> float:
        nonlocal shown
        taken = []
        with Batches(plan, corpus, processes=processes) as batches:
            for number in range(steps):
                begun = time.perf_counter()
                made = batches.step(number * SEQUENCES, SEQUENCES)
                _train(launches)
                if number >= BEGIN:
                    taken.append(time.perf_counter() - begun)
        shown = sum(len(batch.images.plans) for batch in made if batch.images is not None)
        cpu[processes] = _own_seconds(plan, corpus, steps, processes)
        return statistics.median(taken)

    found = interleave(
        {"without": without, "threads": lambda: beside(False), "processes": lambda: beside(True)},
        options.repeats,
    )
    name = f"images of {SMALL_SIDE}², {shown} a step of launches"
    report.note(f"load of the machine: {os.getloadavg()[0]:.1f}")
    report.add(f"{name}: a step without images", 1e3 * found["without"], "ms")
    for who in ("threads", "processes"):
        ratio = found[who] / found["without"]
        report.add(
            f"{name}: a step beside {who}", 1e3 * found[who], "ms", peer="without", ratio=ratio
        )
    for processes, who in ((False, "threads"), (True, "processes")):
        report.add(f"{name}: CPU of the trainer's own, {who}", 1e6 * cpu[processes], "µs/image")


def _own_seconds(plan: Plan, corpus: Corpus, steps: int, processes: bool) -> float:
    """CPU seconds an image of this process, where it only loads: decoding processes not counted."""
    with Batches(plan, corpus, processes=processes, ahead=1) as batches:
        batches.step(0, SEQUENCES)
        before, images = time.process_time(), 0
        for number in range(1, steps):
            made = batches.step(number * SEQUENCES, SEQUENCES)
            images += sum(len(batch.images.plans) for batch in made if batch.images is not None)
        return (time.process_time() - before) / images


def _train(launches: int) -> None:
    _launch(launches)
    time.sleep(WAITS_SECONDS)


def _launch(count: int) -> None:
    values = torch.zeros(64)
    for _ in range(count):
        values = values + 1.0
