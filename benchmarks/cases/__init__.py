"""The benchmarks by name. Each is a module with ``run(report, options)``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from benchmarks.harness import Options, Report


@dataclass(frozen=True)
class Case:
    """One benchmark: what it measures, whether it runs on one core, and whether on a GPU, which
    ``all`` does without."""

    name: str
    summary: str
    one_core: bool = True
    gpu: bool = False

    def run(self, report: Report, options: Options) -> None:
        """Import the benchmark's module and run it."""
        importlib.import_module(f"benchmarks.cases.{self.name}").run(report, options)


CASES = {
    case.name: case
    for case in (
        Case("parquet_floor", "decode Parquet and write it again: the floor under every part"),
        Case("scan", "signals and signatures, against datatrove's rules and signatures"),
        Case("extract", "reading WARC files, against bare fastwarc and resiliparse"),
        Case("language", "language identification of full texts"),
        Case("reward", "rewards: the linear student, behind the scan, and a cascade"),
        Case("reward_gpu", "rewards by a cascade whose network reads all, on a CUDA GPU", gpu=True),
        Case("tokenize", "tiktoken against tokenizers, from the same merges"),
        Case("images", "images: decode, hygiene and hashes, against img2dataset's resizing"),
        Case("dedup", "near-duplicate removal with exact verification"),
        Case("chain", "text to shards in one process, and what its parts add up to"),
        Case(
            "dispatch",
            "tasks of paths alone through the pool of actors, against Ray Data",
            one_core=False,
        ),
        Case("headline", "web-shaped WARC files to shards, against datatrove", one_core=False),
        Case("quickstart", "the default recipe, cold: time and memory", one_core=False),
        Case("memory", "memory on 100 thousand and on 1 million documents", one_core=False),
        Case("determinism", "one recipe built in many ways: one logical root", one_core=False),
    )
}
