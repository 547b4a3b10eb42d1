"""Whole runs: the same curve after a stop, on other ranks, and stages that follow each other."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixtures.plan import Plan
from tests.trainer.ranks import run_ranks
from tests.trainer.run.small_runs import (
    LENGTH,
    MODEL,
    curve,
    metrics,
    request,
    stage,
    train_on_ranks,
)
from trainer.megatron import checkpoints
from trainer.megatron.start import Layout
from trainer.run.recorder import Recorder
from trainer.run.request import Request, RunRefused
from trainer.run.train import train


@pytest.fixture(scope="module")
def corpus(built_run: Path) -> str:
    return str(built_run)


@pytest.fixture(scope="module")
def straight(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Request:
    """A run of the whole stage, on one rank."""
    asked = request(corpus, tmp_path_factory.mktemp("straight") / "first")
    outcome = train(asked)
    assert (outcome.state, outcome.step, outcome.steps) == ("finished", 10, 10)
    return asked


def test_a_line_a_step_says_what_was_done(straight: Request) -> None:
    lines = metrics(straight.out)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert [line["tokens"] for line in lines] == [
        LENGTH * n for n in (4, 8, 12, 16, 20, 24, 32, 40, 48, 56)
    ]
    for line in lines:
        assert line["mfu"] is None  # no datasheet has a rate of this machine
        assert line["dropped_tokens"] > 0
        assert line["mixture"] == {"all": 1.0}
        assert sum(line["sources"].values()) == pytest.approx(1)
        assert line["padding"] == 0
        assert line["document_tokens_per_second"] == line["tokens_per_second"]
        assert line["tokens_per_second_per_device"] == line["tokens_per_second"]  # of one rank
        assert len(line["router"]) == MODEL.layers
        assert all(sum(layer) == pytest.approx(1, abs=1e-3) for layer in line["router"])
        busiest = max(max(layer) for layer in line["router"]) * len(line["router"][0])
        assert busiest == pytest.approx(line["router_imbalance"], abs=1e-3)
        assert set(line["grad_norms"]) == {
            "embedding", "final_layernorm", "layers.0", "layers.1", "output_layer"
        }  # fmt: skip
        whole = sum(x * x for x in line["grad_norms"].values()) ** 0.5
        assert whole == pytest.approx(line["grad_norm"], rel=1e-9)
    assert [path.name for path in sorted(straight.checkpoints.iterdir())] == [
        "step-00000004", "step-00000008", "step-00000010"
    ]  # fmt: skip


def test_the_loss_falls(straight: Request) -> None:
    losses = [line["loss"] for line in metrics(straight.out)]
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize("at", [3, 7])
def test_a_run_that_stops_goes_on_bit_for_bit(straight: Request, at: int, tmp_path: Path) -> None:
    asked = replace(straight, out=tmp_path / "first")
    outcome = train(replace(asked, steps=at))
    assert (outcome.state, outcome.step) == ("paused", at)
    # Lines of steps that the checkpoint does not know are cut when the run goes on.
    with (asked.out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "loss"')
    outcome = train(replace(asked, resume=True))
    assert outcome.state == "finished"
    assert curve(asked.out) == curve(straight.out)
    steps = [json.loads(x) for x in (asked.out / "steps.jsonl").read_text().splitlines()]
    assert [(x["first"], x["sequences"]) for x in steps] == [
        *((4 * n, 4) for n in range(6)), *((24 + 8 * n, 8) for n in range(4))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [(Layout(), Layout(ep=2)), (Layout(tp=2), Layout(pp=2))],
    ids=["dp1-to-dp2ep2", "tp2-to-pp2"],
)
def test_a_run_goes_on_along_the_same_curve_on_other_ranks(
    straight: Request, before: Layout, after: Layout, tmp_path: Path
) -> None:
    asked = replace(straight, out=tmp_path / "first")
    for layout, steps in ((before, 5), (after, None)):
        world = 1 if layout == Layout() else 2
        part = replace(asked, steps=steps, resume=steps is None)
        outcome = run_ranks(train_on_ranks, world, part, layout, seconds=150)[0]
        assert outcome.step == (steps or 10)
    found, wanted = curve(asked.out), curve(straight.out)
    assert [x[0] for x in found] == [x[0] for x in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one[1] == pytest.approx(other[1], rel=1e-4)
        assert one[2] == pytest.approx(other[2], rel=1e-3)
        assert one[3] == pytest.approx(other[3], abs=3)  # a tie of two logits may fall otherwise


def test_a_stage_starts_from_the_one_before(straight: Request, tmp_path: Path) -> None:
    second = stage(name="second", after="first", length=2 * LENGTH, batch=[{"tokens": 512}])
    asked = replace(straight, out=tmp_path / "second", stage=second, steps=2)
    with pytest.raises(RunRefused, match=r"found no finished run in .*first; make it by"):
        train(asked)
    outcome = train(replace(asked, start_from=straight.out))
    assert outcome.state == "paused"
    first = metrics(asked.out)[0]
    fresh = metrics(straight.out)
    assert first["loss"] < fresh[0]["loss"] - 0.05  # it does not begin again
    other = asked.model.model_copy(update={"norm_eps": 1e-3})
    with pytest.raises(RunRefused, match=r"another model; model.norm_eps: found 1e-05"):
        train(replace(asked, out=tmp_path / "third", model=other, start_from=straight.out))


def test_a_run_goes_on_without_the_folder_of_the_stage_before(
    straight: Request, tmp_path: Path
) -> None:
    former = tmp_path / "first"
    shutil.copytree(straight.out, former)
    second = stage(
        name="second", after="first", class_length=2048, interpolation=0.5,
        shares={"short": 0.8, "medium": 0.2, "long": 0.0},
    )  # fmt: skip
    asked = replace(straight, stage=second)
    whole = replace(asked, out=tmp_path / "whole" / "second", start_from=former)
    part = replace(asked, out=tmp_path / "second")
    assert train(whole).state == "finished"
    assert train(replace(part, steps=3)).state == "paused"
    shutil.rmtree(former)
    assert train(replace(part, resume=True)).state == "finished"
    assert curve(part.out) == curve(whole.out)
    # The mixture goes over from the former stage's, so the plan is none without it.
    (plan,) = (Plan.open(path) for path in (part.out / "plans").glob("plan-*"))
    assert plan.spec.transition is not None


def test_what_a_folder_holds_is_not_written_over(straight: Request) -> None:
    with pytest.raises(RunRefused, match="found a run at step 10; say --resume"):
        train(straight)
    with pytest.raises(RunRefused, match="seed: found 0, expected 7"):
        train(replace(straight, seed=7, resume=True))


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_documents(
    corpus: str, tmp_path: Path
) -> None:
    wild = stage(schedule={"phases": [{"until": 56 * LENGTH, "rate": 1e30}]})
    asked = request(corpus, tmp_path / "first", stage=wild, save_every=1)
    outcome = train(asked)
    assert outcome.state == "stopped"
    assert "expected finite numbers" in outcome.why
    (line,) = [json.loads(x) for x in (asked.out / "bad_steps.jsonl").read_text().splitlines()]
    assert line["step"] == outcome.step + 1
    assert line["action"] == "stop"
    assert {"document", "doc_id", "source", "uri"} == set(line["documents"][0])
    assert checkpoints.latest(asked.checkpoints) == outcome.step


def test_a_bad_step_of_a_corpus_without_its_documents_is_told_by_their_numbers(
    corpus: str, tmp_path: Path
) -> None:
    bare = shutil.copytree(corpus, tmp_path / "bare", ignore=shutil.ignore_patterns("documents"))
    wild = stage(schedule={"phases": [{"until": 56 * LENGTH, "rate": 1e30}]})
    asked = request(str(bare), tmp_path / "first", stage=wild, save_every=1)
    outcome = train(asked)
    assert outcome.state == "stopped"
    assert checkpoints.latest(asked.checkpoints) == outcome.step
    (line,) = [json.loads(x) for x in (asked.out / "bad_steps.jsonl").read_text().splitlines()]
    assert line["documents"]
    assert all(set(one) == {"document"} for one in line["documents"])
    assert "cannot be read" in line["unknown"]


def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(
    straight: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Recorder.step

    def signalled(recorder: Recorder, now: Any, *rest: Any, **named: Any) -> None:
        written(recorder, now, *rest, **named)
        if now.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    asked = replace(straight, out=tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "step", signalled)
        outcome = train(asked)
    assert (outcome.state, outcome.step, outcome.why) == ("paused", 2, "asked to end by a signal")
    assert checkpoints.latest(asked.checkpoints) == 2
    assert curve(asked.out) == curve(straight.out)[:2]


def test_ranks_that_do_not_divide_a_batch_are_refused(corpus: str, tmp_path: Path) -> None:
    odd = stage(batch=[{"tokens": 3 * LENGTH}])
    asked = request(corpus, tmp_path / "first", stage=odd)
    with pytest.raises(Exception, match="found a batch of 3 sequences for 2 data-parallel ranks"):
        run_ranks(train_on_ranks, 2, asked, Layout(), seconds=100)


def test_a_layout_that_cannot_be_is_refused(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(RunRefused, match="found 1 ranks, expected a multiple of tp"):
        train(request(corpus, tmp_path / "first", layout=Layout(tp=2)))
    three = MODEL.model_copy(update={"experts": MODEL.experts.model_copy(update={"count": 3})})
    with pytest.raises(Exception, match=r"found experts.count 3 for 2 ranks"):
        run_ranks(train_on_ranks, 2, request(corpus, tmp_path, model=three), Layout(ep=2))
