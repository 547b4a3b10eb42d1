"""A study from its file to its results through the real trainer: small, and slow all the same."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from dataflow.build import build
from mixtures.studies.running import run_study
from tests.dataflow.corpora import write_corpus, write_recipe

MODEL = {
    "name": "two-layers", "layers": 2, "hidden": 32, "heads": 2, "head_dim": 16, "kv_heads": 2,
    "mixers": ["lightning", "softmax"], "rotary_dim": 8,
    "experts": {"count": 4, "top_k": 2, "ffn": 32, "capacity_factor": 1.25},
}  # fmt: skip
STAGE = {
    "name": "few-steps", "length": 64, "rope_base": 10_000, "tokens": 4096,
    "batch": [{"tokens": 512}], "schedule": {"phases": [{"until": 4096, "rate": 0.01}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_corpus(folder, documents=40)
    recipe = write_recipe(folder, partition_bytes="1MiB")
    recipe.write_text(recipe.read_text() + "dedup: {near: {bands: 4, rows: 4}}\n")
    build(recipe, str(folder / "run"), workers=0, show=False)
    return folder / "run"


@pytest.mark.long
def test_two_arms_of_four_seeds_train_and_are_judged(tmp_path: Path, corpus: Path) -> None:
    for recipe in (MODEL, STAGE):
        (tmp_path / f"{recipe['name']}.yaml").write_text(yaml.safe_dump(recipe))

    def arm(start: str, stop: str) -> dict[str, object]:
        part = {"salt": "s", "start": start, "stop": stop}
        return {"components": {"all": {"part": part, "weight": "100%", "epochs": 100}}}

    study = {
        "name": "small", "question": "?", "corpus": {"run": str(corpus)},
        "model": str(tmp_path / "two-layers.yaml"), "stage": str(tmp_path / "few-steps.yaml"),
        "tokens": 4096, "batch": 512, "seeds": 4, "baseline": "one",
        "arms": {
            "one": {"mixture": arm("0", "1/2")},
            "other": {"mixture": arm("1/2", "1"), "seeds": [4, 5, 6, 7], "role": "null"},
        },
        "metrics": {"held_out": {"tokens": 2048}},
    }  # fmt: skip
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(study))
    out = tmp_path / "out"
    found = run_study(path, out=out, workers=2, progress=False)
    assert [(line["arm"], line["seed"], line["state"], line["why"]) for line in found.results] == [
        *(("one", seed, "finished", "") for seed in range(4)),
        *(("other", seed, "finished", "") for seed in range(4, 8)),
    ]
    for line in found.results:
        bits = line["metrics"]["bits_per_byte"]
        evaluation = json.loads((out / "runs" / line["key"] / "evaluation.json").read_text())
        assert bits["all"] == pytest.approx(
            evaluation["loss"]["loss"]["all"]["bits_per_byte"]["value"], rel=1e-9
        )
        assert len(line["curve"]) == 8
        assert math.isfinite(line["final_loss"])
        plans = list((out / "runs" / line["key"] / "train" / "plans").glob("plan-*/plan.json"))
        assert len(plans) == 1
    assert len({line["final_loss"] for line in found.results}) == 8
    before = {p: p.stat().st_mtime_ns for p in out.rglob("metrics.jsonl")}
    assert run_study(path, out=out, workers=1, progress=False).results == found.results
    assert {p: p.stat().st_mtime_ns for p in out.rglob("metrics.jsonl")} == before


@pytest.mark.long
def test_a_run_of_nan_is_ended_and_a_killed_one_goes_on(tmp_path: Path, corpus: Path) -> None:
    tokens = 64 << 10
    stage = {**STAGE, "tokens": tokens, "schedule": {"phases": [{"until": tokens, "rate": 0.01}]}}
    for recipe in (MODEL, stage):
        (tmp_path / f"{recipe['name']}.yaml").write_text(yaml.safe_dump(recipe))
    mixture = {"components": {"all": {"weight": "100%", "epochs": 100}}}
    study = {
        "name": "two", "question": "?", "corpus": {"run": str(corpus)},
        "model": str(tmp_path / "two-layers.yaml"), "stage": str(tmp_path / "few-steps.yaml"),
        "tokens": tokens, "batch": 512, "seeds": 1, "few_seeds": True, "baseline": "killed",
        "save_every": 4, "metrics": {"held_out": {"tokens": 2048}},
        "arms": {"killed": {"mixture": mixture}, "nan": {"mixture": mixture, "rate": 1e30}},
    }  # fmt: skip
    path, out = tmp_path / "two.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(study))
    ended = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not killed and not ended.wait(0.01):
            for metrics in out.glob(".runs/*/train/metrics.jsonl"):
                store = metrics.parents[1]
                rate = json.loads((store / "identity.json").read_text())["rate"]
                if rate is None and len(metrics.read_bytes().splitlines()) >= 10:
                    killed.extend(workers())
                    for pid in killed:
                        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = run_study(path, out=out, workers=1, progress=False)
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 1
    lines = {line["arm"]: line for line in found.results}
    gone_on, nan = lines["killed"], lines["nan"]
    assert (gone_on["state"], gone_on["attempts"]) == ("finished", 2), gone_on["why"]
    tries = [json.loads(one) for one in (out / ".runs" / gone_on["key"] / "attempts.jsonl").open()]
    assert "signal 9" in tries[0]["why"]
    steps = [
        json.loads(one)["step"]
        for one in (out / ".runs" / gone_on["key"] / "train" / "metrics.jsonl").open()
    ]
    assert steps == list(range(1, 129)), "it went on from a checkpoint"
    assert (nan["state"], nan["attempts"], nan["metrics"]) == ("diverged", 1, {})
    assert nan["tokens"] < tokens
    assert not found.complete


def workers() -> list[int]:
    """The workers that this process has started and that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"worker" in (folder / "cmdline").read_bytes().split(
                b"\0"
            ):
                found.append(int(folder.name))
    return found
