"""The benchmarks of the trainer by name. Each is a module with ``run(report, options)``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from benchmarks.harness import Options, Report

PREFIX = "trainer/"
"""Of the names in results: other benchmarks have the same names."""


@dataclass(frozen=True)
class Case:
    """One benchmark: what it measures, whether on one core, whether on a GPU, and whether it is so
    large that it only runs where it is named."""

    name: str
    summary: str
    one_core: bool = False
    gpu: bool = False
    large: bool = False

    @property
    def bench(self) -> str:
        """Its name in result lines."""
        return PREFIX + self.name

    def run(self, report: Report, options: Options) -> None:
        """Import the benchmark's module and run it."""
        importlib.import_module(f"benchmarks.trainer.{self.name}").run(report, options)


TRAINER_CASES = {
    case.name: case
    for case in (
        Case("plan", "plans of a million sequences and more: time, memory, lookups", one_core=True),
        Case(
            "plan_scale",
            "plans over 100 million documents: time, memory, seeks, range reads",
            one_core=True,
            large=True,
        ),
        Case("reading", "what a step waits for its data, from a disk and from S3 on loopback"),
        Case("quickstart", "a tiny model on the quickstart's corpus: a stage, and all four"),
        Case("agreement", "logits and gradients beside transformers and the plain reference"),
        Case("pictures", "images from a run's shards to batches: images a second and core"),
        Case("tiles", "training steps with images, by tiles an image", gpu=True),
        Case(
            "swapped_captions",
            "whether a model's gain tells captions of other pictures from true ones",
            large=True,
        ),
        Case("questions", "stages on made pictures, asked about unseen layouts", gpu=True),
    )
}
