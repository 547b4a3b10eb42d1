"""Stages of preferences for real: what they start from, what they learn, when they end."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from dataflow.run import Run
from dataflow.store import Store
from mixtures.plan import Plan
from tests.trainer.preference.small_stages import LENGTH, pairs_request, pairs_stage
from tests.trainer.ranks import RankFailed, run_ranks
from tests.trainer.run.saved_bits import saved_bits
from tests.trainer.run.small_runs import metrics, request, train_on_ranks
from tests.trainer.run.test_run_killed import train_until_killed
from trainer.data.errors import BadShard, DataError
from trainer.megatron import checkpoints
from trainer.megatron.start import Layout
from trainer.preference.early_stop import Measured, Patience
from trainer.preference.recipe import EarlyStop
from trainer.preference.training import _Work
from trainer.run.request import RunRefused
from trainer.run.train import train

TABLE = "reference/log_probs.f64"


@pytest.fixture(scope="module")
def straight(forms_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not cut."""
    out = tmp_path_factory.mktemp("straight") / "pairs"
    assert train(pairs_request(forms_run, out)).state == "finished"
    return out


def told(out: Path) -> list[tuple[Any, ...]]:
    """What each step's line says of pairs."""
    names = ("step", "loss", "grad_norm", "dropped_tokens", "preference", "held_out")
    return [tuple(line.get(name) for name in names) for line in metrics(out)]


def plan_of(out: Path) -> Plan:
    (folder,) = (out / "plans").glob("plan-*")
    return Plan.open(folder)


def test_the_margin_of_held_out_pairs_rises(straight: Path) -> None:
    lines = metrics(straight)
    assert lines[0]["loss"] == math.log(2)  # the model is its own reference, to the bit
    assert lines[0]["preference"]["margin"] == 0
    held_out = [line["held_out"] for line in lines if "held_out" in line]
    assert [one["step"] for one in held_out] == [2, 4, 6]
    assert {one["pairs"] for one in held_out} == {8}
    assert held_out[-1]["margin"] > held_out[0]["margin"] > 0
    assert held_out[-1]["loss"] < held_out[0]["loss"] < math.log(2)
    for line in lines:
        told_of = line["preference"]
        margin = told_of["chosen"] - told_of["rejected"]
        assert told_of["margin"] == pytest.approx(margin, abs=1e-6)
        assert told_of["pairs"] * 2 == line["segments"]


def test_no_pair_is_read_twice(straight: Path, forms_run: Path, tmp_path: Path) -> None:
    plan = plan_of(straight)
    read = Counter(piece.document for pieces in plan for piece in pieces)
    assert set(read.values()) == {1}
    # A budget beyond the corpus becomes what is left of an epoch.
    stage = pairs_stage(steps=400, most_epochs=0.8)
    train(pairs_request(forms_run, tmp_path / "pairs", stage=stage, steps=1))
    small = plan_of(tmp_path / "pairs")
    (component,) = small.summary
    assert 0.6 * component["tokens"] < len(small) * LENGTH <= 0.8 * component["tokens"]
    assert metrics(tmp_path / "pairs")[0]["loss"] == pytest.approx(math.log(2))


def test_a_run_that_goes_on_is_the_run_that_was_not_cut(
    straight: Path, forms_run: Path, tmp_path: Path
) -> None:
    asked = pairs_request(forms_run, tmp_path / "pairs")
    train(replace(asked, steps=3))
    train(replace(asked, resume=True))
    assert told(asked.out) == told(straight)
    assert saved_bits(asked.checkpoints, 6) == saved_bits(straight / "checkpoints", 6)
    (asked.out / TABLE).unlink()
    with pytest.raises(RunRefused, match="restore the file, or begin the stage anew"):
        train(replace(asked, resume=True))


def test_a_reference_that_was_cut_is_gone_on_with(
    straight: Path, forms_run: Path, tmp_path: Path
) -> None:
    asked, rows, done = pairs_request(forms_run, tmp_path / "pairs"), _Work.rows, []

    def until(number: int) -> Any:
        def some(work: _Work, step: int) -> Any:
            if step == number:
                raise KeyboardInterrupt
            done.append(step)
            return rows(work, step)

        return some

    with mock.patch.object(_Work, "rows", until(3)), pytest.raises(KeyboardInterrupt):
        train(asked)
    with (asked.out / "reference/log_probs.part").open("ab") as part:
        part.write(b"torn")
    with mock.patch.object(_Work, "rows", until(-1)):
        train(asked)
    assert done == [0, 1, 2, 3, 4, 5, 6]  # six steps, and the held-out pairs
    assert (asked.out / TABLE).read_bytes() == (straight / TABLE).read_bytes()
    assert told(asked.out) == told(straight)


def test_a_held_out_loss_that_rises_ends_the_stage(forms_run: Path, tmp_path: Path) -> None:
    stop = {
        "kind": "dpo",
        "beta": 5.0,
        "early_stop": {"every": 1, "patience": 1, "pairs": 8, "fewest": 8},
    }
    stage = pairs_stage(rate=0.3, objective=stop)
    asked = pairs_request(forms_run, tmp_path / "pairs", stage=stage)
    outcome = train(asked)
    assert outcome.state == "finished"
    assert outcome.step < outcome.steps == 6
    assert "the loss of 8 held-out pairs has not fallen in 1 measurements" in outcome.why
    state = checkpoints.read_state(asked.checkpoints, outcome.step)
    assert state["finished"]
    assert [one["step"] for one in state["preference"]["measured"]] == list(range(outcome.step + 1))
    again = train(replace(asked, resume=True))
    assert (again.state, again.step, again.why) == ("finished", outcome.step, outcome.why)
    assert len(metrics(asked.out)) == outcome.step


def test_a_source_without_pairs_is_told(forms_run: Path, tmp_path: Path) -> None:
    stage = pairs_stage(draws={"instructions": {"sources": ["instructions"]}})
    with pytest.raises(DataError, match="of preferences draws from sources of format preferences"):
        train(pairs_request(forms_run, tmp_path / "pairs", stage=stage))


def test_other_stages_leave_pairs_out(forms_run: Path, tmp_path: Path) -> None:
    """One that draws from all sources would learn the rejected answers."""
    train(request(str(forms_run), tmp_path / "first", steps=1))
    (component,) = plan_of(tmp_path / "first").spec.components
    assert component.sources is not None
    assert set(component.sources) == {"text", "descriptions", "instructions", "experience"}


def test_a_corpus_too_small_is_told(forms_run: Path, tmp_path: Path) -> None:
    stage = pairs_stage(most_epochs=0.001)
    with pytest.raises(RunRefused, match=r"reads 0.001 epochs of what it draws at most; found"):
        train(pairs_request(forms_run, tmp_path / "pairs", stage=stage))


def test_pairs_of_a_bad_shard_are_left_out_or_stop_the_run(
    straight: Path, forms_run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(forms_run, copy)
    run, plan = Run.load(Store(str(copy))), plan_of(straight)
    documents = [piece.document for piece in plan[5]]
    (shard, *_), _ = plan.places(documents[:1])
    path = copy / run.shards[int(shard)].tokenize.outputs["shard"].path
    path.write_bytes(path.read_bytes()[:-700])
    asked = pairs_request(copy, tmp_path / "stop" / "pairs")
    with pytest.raises(BadShard, match="--on-bad-shard skip"):
        train(asked)
    asked = replace(asked, out=tmp_path / "skip" / "pairs", on_bad_shard="skip")
    train(replace(asked, steps=3))
    assert train(replace(asked, resume=True)).state == "finished"
    lines, whole = metrics(asked.out), metrics(straight)
    assert sum(x["preference"]["pairs"] for x in lines) < sum(
        x["preference"]["pairs"] for x in whole
    )
    assert all(math.isfinite(line["loss"]) for line in lines if line["labels"])


def test_patience() -> None:
    patience = Patience(EarlyStop(every=5, patience=2, fewest=8))
    assert [step for step in range(1, 21) if patience.is_due(step)] == [5, 10, 15, 20]
    for step, loss in ((0, 0.7), (5, 0.5), (10, 0.6)):
        patience.note(Measured(step, 8, loss, 0.0, 0.5))
        assert not patience.ended
    restored = Patience(patience.settings)
    restored.restore(patience.state())
    for each in (patience, restored):
        each.note(Measured(15, 8, 0.5, 0.0, 0.5))  # as low as before is not lower
        assert each.ended.endswith("in 2 measurements since step 5, where it was 0.5000")
        each.note(Measured(20, 7, 0.9, 0.0, 0.5))
        assert not each.ended  # of fewer pairs than are asked for


@pytest.mark.long
def test_a_killed_run_goes_on_bit_for_bit(forms_run: Path, tmp_path: Path) -> None:
    """By SIGKILL, two steps behind its checkpoint and a measurement."""
    asked = pairs_request(forms_run, tmp_path / "straight" / "pairs", save_every=4)
    run_ranks(train_on_ranks, 1, asked, Layout(), seconds=300)
    killed = replace(asked, out=tmp_path / "killed" / "pairs")
    with pytest.raises(RankFailed, match="exit code -9"):
        run_ranks(train_until_killed, 1, killed, Layout(), "between checkpoints", seconds=300)
    assert checkpoints.latest(killed.checkpoints) == 4
    run_ranks(train_on_ranks, 1, replace(killed, resume=True), Layout(), seconds=300)
    assert told(killed.out) == told(asked.out)
    assert saved_bits(killed.checkpoints, 6) == saved_bits(asked.checkpoints, 6)


@pytest.mark.long
@pytest.mark.parametrize("layout", ["dp", "tp", "pp", "ep"])
def test_other_ranks_have_the_same_curve(
    layout: str, straight: Path, forms_run: Path, tmp_path: Path
) -> None:
    """All of the stage on two ranks; and half of it alone, then on two ranks."""
    spread = Layout(**({} if layout == "dp" else {layout: 2}))
    asked = pairs_request(forms_run, tmp_path / "all" / "pairs")
    run_ranks(train_on_ranks, 2, asked, spread, seconds=300)
    halved = replace(asked, out=tmp_path / "half" / "pairs")
    train(replace(halved, steps=4))
    run_ranks(train_on_ranks, 2, replace(halved, resume=True), spread, seconds=300)
    tables = [np.fromfile(out / TABLE).reshape(-1, 2) for out in (straight, asked.out, halved.out)]
    assert np.abs(tables[1] / tables[0] - 1).max() < 1e-5
    assert (tables[2] == tables[0]).all()
    for out in (asked.out, halved.out):
        for (_, loss, *_, pairs, held_out), line in zip(told(straight), told(out), strict=True):
            assert line[1] == pytest.approx(loss, rel=1e-4)
            assert line[4] == pytest.approx(pairs, rel=1e-3, abs=1e-3)
            assert line[5] == (None if held_out is None else pytest.approx(held_out, rel=1e-3))
