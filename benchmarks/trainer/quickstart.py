"""``make train`` as a newcomer runs it on two cores: one stage, and the chain of all four."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.builds import build
from benchmarks.harness import ROOT, Options, Report, seconds
from trainer.logs import read_metrics

MODEL = "tiny"
CORPUS = ROOT / "runs" / "quickstart"
RECIPE = ROOT / "recipes" / "quickstart.yaml"
STAGES = ("text_8k", "text_128k", "text_512k", "text_1m")
WORKERS = 2
QUICK = "--tokens 8Ki"
"""Arguments of a smoke test: a few steps of each stage."""


class TrainingFailed(RuntimeError):
    """``make train`` ended with a status other than 0; the message ends what it said."""


def run(report: Report, options: Options) -> None:
    """Train from nothing, into folders of the benchmark's own."""
    corpus = _corpus(options)
    stages = STAGES[:2] if options.quick else STAGES
    words = [f"ARGS={QUICK}"] if options.quick else []
    one = _train(options, corpus, "bench-stage", [f"STAGE={STAGES[0]}", *words])
    report.add("one stage, make train STAGE=text_8k MODEL=tiny", one[0], "s")
    _losses(report, one[1], STAGES[0], STAGES[0])
    chain = _train(options, corpus, "bench-chain", [f"STAGE={stages[-1]}", "CHAIN=1", *words])
    report.add("four stages, make train STAGE=text_1m MODEL=tiny CHAIN=1", chain[0], "s")
    for stage in stages:
        _losses(report, chain[1], stage, f"chain, {stage}")


def _corpus(options: Options) -> Path:
    """The quickstart's corpus; built where it is not there, outside of what is timed."""
    if (CORPUS / "journal" / "run.json").exists():
        return CORPUS
    return build(RECIPE, options.scratch / "quickstart-corpus", WORKERS).run


def _train(options: Options, corpus: Path, name: str, words: list[str]) -> tuple[float, Path]:
    """Wall seconds of a ``make train``, and the folder of its stages.

    The Makefile names that folder after the corpus, so the corpus gets a name of the benchmark's.
    """
    link = options.scratch / name
    link.unlink(missing_ok=True)
    link.symlink_to(corpus, target_is_directory=True)
    folder = ROOT / "runs" / "train" / f"{MODEL}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    # `-o`: the environment is not made anew, whatever its files' times are.
    command = ["make", "--no-print-directory", "-o", ".venv/.ready", "train"]
    command += [f"MODEL={MODEL}", f"CORPUS={link}", *words]
    # torchrun's variables would have it wait for others.
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    log = options.scratch / f"{name}.log"

    def make() -> None:
        with log.open("wb") as sink:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        if done.returncode:
            tail = log.read_text(errors="replace")[-3000:]
            raise TrainingFailed(f"{' '.join(command)}: status {done.returncode}; it said:\n{tail}")

    return seconds(make), folder


def _losses(report: Report, folder: Path, stage: str, name: str) -> None:
    """How the loss fell, and where the seconds of the steps went."""
    steps = list(read_metrics(folder / stage / "metrics.jsonl"))
    few = max(1, len(steps) // 10)
    first, last = (sum(s["loss"] for s in part) / few for part in (steps[:few], steps[-few:]))
    taken = sum(s["seconds"] for s in steps)
    report.add(f"{name}: loss, mean of the first tenth of its steps", first, "nats")
    report.add(f"{name}: loss, mean of the last tenth", last, "nats")
    report.add(f"{name}: steps", len(steps), "steps")
    report.add(f"{name}: seconds of its steps", taken, "s")
    waited = 100 * sum(s["wait_seconds"] for s in steps) / taken
    report.add(f"{name}: waited for data, of its steps' time", waited, "%")
