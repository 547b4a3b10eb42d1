"""A chain of stages on synthesised pictures, then questions on pictures of layouts it has not seen.

Text, descriptions with the language model frozen, instructions; judged beside the same questions
with another picture, without any, and beside a model whose instructions were a few steps behind
the descriptions: what that one answers is the form of the answers, and what descriptions taught.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import ROOT, Options, Report, seconds
from benchmarks.trainer.options import TrainerOptions
from dataflow.run import Run
from dataflow.store import Store
from trainer.evaluation.paired import paired_difference
from trainer.evaluation.pictures import IMAGE
from trainer.logs import read_metrics

MODEL = "small-vl"
FAMILIES = ("counting", "colours", "ocr", "charts")
"""What is drawn, taught and asked."""


@dataclass(frozen=True)
class Size:
    """How large all of it is; tokens are the stages' budgets and, of ``batch``, a step's.
    ``epochs``: a picture is seen so often at most, in a stage. ``questions`` are pictures with
    questions about them, of which at most ``asked`` are put."""

    pixels: int
    descriptions: int
    instructions: int
    questions: int
    asked: int
    text_tokens: int
    description_tokens: int
    instruction_tokens: int
    batch: int
    tune_steps: int
    epochs: int


FULL = Size(112, 4000, 10_000, 1100, 1100, 6 << 20, 3 << 19, 11 << 20, 32 << 10, 200, 12)
QUICK = Size(112, 80, 160, 40, 400, 32 << 10, 8 << 10, 16 << 10, 2 << 10, 4, 4)


class StepFailed(RuntimeError):
    """A command of the benchmark ended with a status other than 0; the message ends its words."""


def run(report: Report, options: Options) -> None:
    """Make the corpus while the language model learns from text, train, ask."""
    asked = options if isinstance(options, TrainerOptions) else TrainerOptions()
    size = QUICK if asked.quick else FULL
    work = _Work(report, asked, size)
    report.add("text, and meanwhile pictures and their corpus", seconds(work.begin), "s")
    work.train("vl_stage1", "vl_stage1", size.description_tokens)
    work.train("vl_stage2", "vl_stage2", size.instruction_tokens)
    found = work.ask("vl_stage2")
    for part in [found["all"], *found["families"]]:
        _tell(report, part)
    # A stage of its own length: its rate falls to the end as any other's.
    work.train("tune", "vl_stage2", size.tune_steps * size.batch, after="vl_stage1")
    tuned = work.ask("tune")
    families = [row.split("-")[0] for row in found["samples"]["id"]]
    for family in ("all", *dict.fromkeys(families)):
        rows = [n for n, mine in enumerate(families) if family in ("all", mine)]
        _tell_gain(
            report, family, f"the tune of {size.tune_steps} steps", _gain(found, tuned, rows)
        )


def _tell(report: Report, part: dict[str, Any]) -> None:
    """The accuracy of some questions in each condition, and above each baseline."""
    name = part["name"]
    report.add(f"{name}: questions", part["questions"], "questions")
    report.add(f"{name}: accuracy of guessing", 100 * part["chance"], "%")
    for condition, score in part["scores"].items():
        report.add(f"{name}: accuracy, {condition}", 100 * score["accuracy"]["value"], "%")
        if score["similarity"] is not None:
            similarity = 100 * score["similarity"]["value"]
            report.add(f"{name}: similarity of what is written, {condition}", similarity, "%")
    for baseline, gain in part["gains"].items():
        _tell_gain(report, name, baseline, gain["accuracy"])


def _tell_gain(report: Report, name: str, baseline: str, gain: dict[str, float]) -> None:
    for which, key in (("", "value"), (", low end of 95 %", "low"), (", high end", "high")):
        report.add(f"{name}: accuracy above {baseline}{which}", 100 * gain[key], "%")


def _gain(found: dict[str, Any], other: dict[str, Any], rows: Sequence[int]) -> dict[str, float]:
    """How much more often a model is right than another, over the same questions."""
    ids = found["samples"]["id"]
    if other["samples"]["id"] != ids:
        raise ValueError("two models were asked different questions")
    ours, theirs = (each["samples"][IMAGE]["right"] for each in (found, other))
    return paired_difference(
        [float(ours[n]) - float(theirs[n]) for n in rows],
        # The turns of a picture are one draw.
        [ids[n].split("/")[0] for n in rows],
        seed="tune",
    ).as_json()


class _Work:
    """The folders and commands of one run, made anew."""

    def __init__(self, report: Report, options: TrainerOptions, size: Size) -> None:
        self.report, self.options, self.size = report, options, size
        self.folder = options.scratch / "questions"
        self.out, self.corpus = self.folder / "train", self.folder / "corpus"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def begin(self) -> None:
        """The stage of text on the GPU; on the cores pictures, and the corpus out of them."""
        text = self._training("text_8k", "text_8k", self.size.text_tokens)
        with self._log("text_8k").open("wb") as log:
            training = subprocess.Popen(text, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._make_corpus()
            training.wait()
        finally:
            training.kill()
        self._check("text_8k", text, training.returncode)

    def train(self, name: str, stage: str, tokens: int, after: str | None = None) -> None:
        """Train a stage into the folder ``name``, and tell its time and its loss."""
        words = self._training(name, stage, tokens, after)
        taken = seconds(lambda: self._do(name, words))
        self.report.add(f"{name}: seconds, the start among them", taken, "s")
        self._tell_training(name)

    def ask(self, name: str) -> dict[str, Any]:
        """What ``evaluate --tasks pictures --json`` says of a stage's model."""
        words = ["evaluate", str(self.out / name), "--tasks", "pictures"]
        words += ["--questions", str(self.folder / "questions"), "--limit", str(self.size.asked)]
        words += ["--device", self.options.device]
        words = self._python("trainer", *words, "--json")
        log = self._log(f"ask-{name}")
        taken = seconds(lambda: self._do(f"ask-{name}", words))
        self.report.add(f"{name}: seconds of its answers", taken, "s")
        answer: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])["pictures"]
        return answer

    def _make_corpus(self) -> None:
        size = self.size
        self._synthesise("descriptions", size.descriptions, 1)
        # With the description as the last turn: an answer of a word is little to learn to see from.
        described = ("--form", "described")
        self._synthesise("instructions", size.instructions, 2, *described)
        self._synthesise("questions", size.questions, 3, *described, "--split", "heldout")
        recipe = self.folder / "corpus.yaml"
        recipe.write_text(yaml.safe_dump(self._recipe(), sort_keys=False))
        # Without Ray, as on machines that have only what training needs, in one process.
        workers = _cores() if find_spec("ray") else 0
        words = ["build", str(recipe), "--out", str(self.corpus), "--workers", str(workers)]
        self._do("build", self._python("dataflow", *words, "--json"))

    def _recipe(self) -> dict[str, Any]:
        """Pictures as documents, text beside them, and the tokenizer that the text stage has."""
        text = Run.load(Store(str(self.options.corpus)))
        tokenizer = self.options.corpus / "tokenizer" / str(text.tokenizer.stats["hash"])
        return {
            "name": "questions",
            "seed": self.options.seed,
            "sources": [
                {
                    "name": "descriptions",
                    "paths": str(self.folder / "descriptions" / "samples.jsonl"),
                    "format": "image-text",
                    "fields": {"caption": "description"},
                    "images": {"min_side": self.size.pixels},
                },
                {
                    "name": "instructions",
                    "paths": str(self.folder / "instructions" / "samples.jsonl"),
                    "format": "llava",
                    "images": {"min_side": self.size.pixels},
                },
                {
                    "name": "text",
                    "kind": "stdlib",
                    "include": ["**/*.py"],
                    "sample": {"bytes": "2MiB" if self.options.quick else "4MiB"},
                    "max_bad_fraction": 0.2,
                },
            ],
            "tokenizer": {"use": str(tokenizer)},
            "split": {"held_out": 0.01},
        }

    def _synthesise(self, name: str, count: int, seed: int, *more: str) -> None:
        words = ["synthesise", "--out", str(self.folder / name), "--count", str(count)]
        words += ["--seed", str(self.options.seed + seed), "--size", str(self.size.pixels)]
        words += ["--families", *FAMILIES, "--workers", str(_cores()), *more]
        self._do(f"synthesise-{name}", self._python("vl_data", *words))

    def _training(self, name: str, stage: str, tokens: int, after: str | None = None) -> list[str]:
        corpus = self.options.corpus if stage.startswith("text") else self.corpus
        words = ["run", "--stage", stage, "--model", self.options.model or MODEL]
        words += ["--corpus", str(corpus)]
        words += ["--out", str(self.out / name), "--tokens", str(tokens)]
        words += ["--batch", str(self.size.batch), "--seed", str(self.options.seed), "--json"]
        if corpus == self.corpus:
            words += ["--epochs", str(self.size.epochs)]
        if after is not None:
            words += ["--start-from", str(self.out / after)]
        return self._python("trainer", *words)

    def _tell_training(self, name: str) -> None:
        steps = list(read_metrics(self.out / name / "metrics.jsonl"))
        few = max(1, len(steps) // 10)
        self.report.add(f"{name}: steps", len(steps), "steps")
        for which, part in (("first", steps[:few]), ("last", steps[-few:])):
            loss = sum(step["loss"] for step in part) / few
            self.report.add(f"{name}: loss, mean of the {which} tenth", loss, "nats")
        rates = sorted(step["tokens_per_second"] for step in steps)
        self.report.add(f"{name}: tokens a second, median step", rates[len(rates) // 2], "tokens/s")
        waited = sum(step["wait_seconds"] for step in steps[1:])
        taken = sum(step["seconds"] for step in steps[1:])
        self.report.add(f"{name}: waited for data, of its steps' time", 100 * waited / taken, "%")

    def _python(self, module: str, *words: str) -> list[str]:
        return [sys.executable, "-m", module, *words]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _do(self, name: str, words: Sequence[str]) -> None:
        with self._log(name).open("wb") as log:
            done = subprocess.run(
                words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                check=False,
            )  # fmt: skip
        self._check(name, words, done.returncode)

    def _check(self, name: str, words: Sequence[str], status: int) -> None:
        if status:
            tail = self._log(name).read_text(errors="replace")[-3000:]
            raise StepFailed(f"{' '.join(words)}: status {status}; it said:\n{tail}")


def _cores() -> int:
    return len(os.sched_getaffinity(0))
