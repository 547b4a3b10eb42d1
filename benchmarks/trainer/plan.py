"""Plans of a million sequences and more: compile time and memory, ``plan[i]``, and its inverse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Options, Report, seconds
from benchmarks.trainer.made_run import draw_lengths, make_run
from mixtures.interleave import interleave, interleave_plainly
from mixtures.plan import Component, LateMixture, Plan, PlanSpec, Transition
from mixtures.quotas import Quotas

LENGTH = 8192
L1 = 131_072
SHARDS = 64
NAMES = ("short", "medium", "long")
LOOKUPS, INVERSES = 20_000, 20


def run(report: Report, options: Options) -> None:
    """Compile plans of two sizes over one index, each in a process of its own."""
    documents = options.size(1_000_000, 20_000)
    lengths = draw_lengths(documents, L1, options.seed)
    corpus = make_run(options.scratch / "index", lengths, shards=SHARDS, ids=False)
    report.add(f"input: an index of {documents:,} documents", lengths.sum() / 1e9, "G tokens")
    for sequences in (options.size(1_000_000, 10_000), options.size(4_000_000, 20_000)):
        name = f"{sequences / 1e6:g}M sequences"
        out = options.scratch / "plans"
        shutil.rmtree(out, ignore_errors=True)
        found = _compiled(corpus, sequences, out)
        report.add(f"compile, {name}", found["compile_seconds"], "s")
        report.add(f"compile, {name}: memory", found["memory_bytes"] / 1e6, "MB")
        report.add(f"plan on disk, {name}", found["disk_bytes"] / 1e6, "MB")
        report.add(f"open, {name}", found["open_seconds"] * 1e3, "ms")
        report.add(f"plan[i], {name}", found["lookup_seconds"] * 1e6, "µs")
        report.add(f"inverse of a document, {name}", found["inverse_seconds"] * 1e3, "ms")
        shutil.rmtree(out)
    _interleaving(report, options.size(1_000_000, 10_000))


def spec_of(sequences: int) -> PlanSpec:
    """Three length classes, whose weights change at the beginning and at the end."""
    whole = sequences * LENGTH
    weights = (300_000, 350_000, 350_000)
    components = tuple(
        Component.model_validate({"name": name, "length": name, "weight": weight, "epochs": 1000})
        for name, weight in zip(NAMES, weights, strict=True)
    )
    return PlanSpec(
        length=LENGTH,
        tokens=whole,
        l1=L1,
        components=components,
        transition=Transition(
            tokens=whole // 5,
            previous=dict(zip(NAMES, (900_000, 80_000, 20_000), strict=True)),
        ),
        late=LateMixture(
            start=4 * whole // 5,
            weights=dict(zip(NAMES, (270_000, 315_000, 415_000), strict=True)),
        ),
    )


def _compiled(corpus: Path, sequences: int, out: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.trainer.plan", str(corpus), str(sequences), str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measure(corpus: Path, sequences: int, out: Path) -> dict[str, float]:
    """What the process of one size finds."""
    # Compiled code is loaded, or made, by a plan of some sequences; a run does so once.
    warm = Plan.compile(corpus, spec_of(1000), out=out / "warm")
    before = memory_of("VmRSS")
    compile_seconds = seconds(lambda: Plan.compile(corpus, spec_of(sequences), out=out))
    memory = memory_of("VmHWM") - before
    (folder,) = out.glob("plan-*")
    plan = Plan.open(folder)
    open_seconds = seconds(lambda: Plan.open(folder))
    draw = np.random.default_rng(0)
    asked = draw.integers(0, len(plan), LOOKUPS).tolist()
    lookups = seconds(lambda: [plan[i] for i in asked])
    documents = draw.choice(warm.documents, INVERSES, replace=False).tolist()
    inverses = seconds(lambda: [plan.inverse(document) for document in documents])
    return {
        "compile_seconds": compile_seconds,
        "memory_bytes": memory,
        "disk_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "open_seconds": open_seconds,
        "lookup_seconds": lookups / LOOKUPS,
        "inverse_seconds": inverses / INVERSES,
    }


def memory_of(field: str) -> int:
    """Bytes of a field of this process's status, mapped files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise OSError(f"/proc/self/status: found no {field}, expected Linux's")


def _interleaving(report: Report, sequences: int) -> None:
    """The schedule alone, compiled and as the definition reads."""
    spec = spec_of(sequences)
    quotas, count = Quotas(spec), len(spec.components)
    interleave(quotas, count, 10, LENGTH)
    ours = seconds(lambda: interleave(quotas, count, sequences, LENGTH))
    plain = seconds(lambda: interleave_plainly(quotas, count, sequences, LENGTH))
    report.add(
        f"interleaving, {sequences / 1e6:g}M sequences",
        sequences / ours / 1e6,
        "M sequences/s",
        peer="plain Python",
        ratio=plain / ours,
    )


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
