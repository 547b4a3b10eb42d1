"""Plans over an index of many documents: what compiling takes, and how soon sequences are there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Options, Report, seconds
from benchmarks.trainer.made_index import make_index
from benchmarks.trainer.options import TrainerOptions
from benchmarks.trainer.plan import L1, memory_of, spec_of
from mixtures.plan import Plan, PlanSpec
from trainer.data.corpus import Stretch, coalesce

DOCUMENTS = 100_000_000
DOCUMENTS_A_SEQUENCE = 25
"""Of the index, for each sequence of the plan: 4 million sequences of 100 million documents."""
SEEKS, WALKED = 2_000, 98_304
STEPS = (2048, 8192)
"""Sequences of a step, of which range reads are counted: 16 and 64 million tokens."""
TOGETHER = 1 << 25
"""Tokens that stay together where reads are to be few: 64 MB of a shard."""
CASES: dict[str, dict[str, Any]] = {
    "stream": {"packing": "stream"},
    "whole": {"packing": "whole"},
    "stream, one component, 64 MB together": {"packing": "stream", "together": TOGETHER},
    "whole, one component, 64 MB together": {"packing": "whole", "together": TOGETHER},
}


def run(report: Report, options: Options) -> None:
    """Compile a plan of each kind, each in a process of its own."""
    documents = options.size(DOCUMENTS, 20_000)
    if isinstance(options, TrainerOptions) and options.documents is not None:
        documents = options.documents
    folder = options.scratch / "scale-index"
    made = seconds(lambda: make_index(folder, documents, L1, options.seed))
    size = sum(path.stat().st_size for path in folder.glob("index/*"))
    report.add(f"input: an index of {documents:,} documents", size / 1e9, "GB")
    report.add("input: made in", made, "s")
    for case in CASES:
        out = options.scratch / "scale-plans"
        shutil.rmtree(out, ignore_errors=True)
        arguments = [str(folder), case, str(documents // DOCUMENTS_A_SEQUENCE), str(out)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.trainer.plan_scale", *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        found: dict[str, tuple[float, str]] = json.loads(done.stdout)
        for metric, (value, unit) in found.items():
            report.add(f"{case}: {metric}", value, unit)
        shutil.rmtree(out)


def _spec(case: str, sequences: int) -> PlanSpec:
    """Three length classes in shares that change, or all documents as one component."""
    found = spec_of(sequences).model_dump(mode="json") | CASES[case]
    for component in found["components"]:
        component["epochs"] = 1
    if "together" in CASES[case]:
        found |= {"components": [{"name": "all", "weight": 1}], "transition": None, "late": None}
    return PlanSpec.model_validate(found)


def _measure(corpus: Path, case: str, sequences: int, out: Path) -> dict[str, tuple[float, str]]:
    """What the process of one kind finds: values with their units."""
    spec = _spec(case, sequences)
    before = memory_of("VmRSS")
    compile_seconds = seconds(lambda: Plan.compile(corpus, spec, out=out))
    memory = memory_of("VmHWM") - before
    (folder,) = out.glob("plan-*")
    disk = sum(path.stat().st_size for path in folder.iterdir())
    draw = np.random.default_rng(0)
    places = draw.integers(0, sequences, SEEKS).tolist()
    opened = []
    for place in places[:20]:
        _forget(folder)
        opened.append(seconds(partial(lambda i: Plan.open(folder)[i], place)))
    _forget(folder)
    plan = Plan.open(folder)
    seeks = [seconds(partial(plan.__getitem__, place)) for place in places]
    _forget(folder)
    plan = Plan.open(folder)
    # Where a step begins: a window of sequences packed whole is then read by one step.
    start = len(plan) // 3 // max(STEPS) * max(STEPS)
    walked = min(WALKED, len(plan) // 3)
    pieces = 0

    def walk() -> None:
        nonlocal pieces
        for place in range(start, start + walked):
            pieces += len(plan[place])

    walk_seconds = seconds(walk)
    _forget(folder)
    inverse = seconds(lambda: Plan.open(folder).inverse(pieces))
    reads = {f"range reads, steps of {n} sequences": _reads(plan, start, walked, n) for n in STEPS}
    return {
        "sequences": (len(plan), "sequences"),
        "fill": (100 * plan.fill, "%"),
        "compile": (compile_seconds, "s"),
        "compile: memory": (memory / 1e6, "MB"),
        "plan on disk": (disk / 1e6, "MB"),
        "open and seek, not in memory: median": (1e3 * float(np.median(opened)), "ms"),
        "open and seek, not in memory: longest": (1e3 * max(opened), "ms"),
        "seek, open: median": (1e3 * float(np.median(seeks)), "ms"),
        "seek, open: longest": (1e3 * max(seeks), "ms"),
        "inverse of a document, not in memory": (1e3 * inverse, "ms"),
        "in order": (1e3 * walk_seconds / walked, "ms a sequence"),
        **{metric: (found, "a 1,000 documents") for metric, found in reads.items()},
        "documents a sequence": (pieces / walked, "documents"),
    }


def _reads(plan: Plan, start: int, walked: int, step: int) -> float:
    """Reads of token shards that the trainer would make for each 1,000 documents of steps."""
    reads = documents = 0
    for first in range(start, start + walked, step):
        pieces = [
            piece for i in range(first, min(first + step, start + walked)) for piece in plan[i]
        ]
        shards, offsets = plan.places([piece.document for piece in pieces])
        stretches = [
            Stretch(shard, offset + 2 * piece.token_start, piece.token_length)
            for shard, offset, piece in zip(shards.tolist(), offsets.tolist(), pieces, strict=True)
        ]
        reads += sum(1 for _ in coalesce(stretches, 2))
        documents += len(pieces)
    return 1000 * reads / documents


def _forget(folder: Path) -> None:
    """Let the system drop what it holds of a plan's files."""
    for path in folder.glob("*.bin"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
