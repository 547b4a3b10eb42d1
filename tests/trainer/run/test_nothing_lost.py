"""Runs that end before their time: what was learned is saved, and they go on from there."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.trainer.ranks import run_ranks
from tests.trainer.run.small_runs import curve, request, stage
from trainer.data.batches import Batches
from trainer.data.errors import BadShard, DataError
from trainer.guards import Guard
from trainer.megatron import checkpoints
from trainer.megatron.optimizer import gradient_norms
from trainer.megatron.start import Layout
from trainer.run import walk
from trainer.run.batch import BatchResult, run_batch
from trainer.run.request import Request
from trainer.run.train import train

LOST, ITS_STEP = 17, 5
"""A sequence, and the step that reads it."""


@pytest.fixture(scope="module")
def straight(built_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Request:
    """A run that nothing ends; its only checkpoint is the last."""
    guards = {"guard": {"window": 8}, "layer_guard": {"window": 8, "ratio": 1e9}}
    asked = request(
        str(built_run), tmp_path_factory.mktemp("straight") / "first",
        stage=stage(**guards), save_every=100,
    )  # fmt: skip
    assert train(asked).state == "finished"
    return asked


def goes_on(asked: Request, straight: Request, at: int) -> None:
    """The folder has a checkpoint of step ``at``, from which the run is the whole one's."""
    assert checkpoints.steps(asked.checkpoints) == [at]
    assert len(curve(asked.out)) == at
    assert train(replace(asked, resume=True)).state == "finished"
    assert curve(asked.out) == curve(straight.out)
    found, wanted = (checkpoints.read_state(x.checkpoints, 10) for x in (asked, straight))
    assert found == wanted  # what guards remember too


def test_a_run_that_a_guard_stops_is_saved_before_the_bad_step(
    straight: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(chunks: Any, batches: Sequence[Any], **named: Any) -> BatchResult:
        result = run_batch(chunks, batches, **named)
        return result._replace(loss=math.nan) if batches[0].first_sequence == 24 else result

    asked = replace(straight, out=tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(walk, "run_batch", spoiled)
        outcome = train(asked)
    assert (outcome.state, outcome.step) == ("stopped", 6)
    assert outcome.checkpoint == str(checkpoints.path_of(asked.checkpoints, 6))
    goes_on(asked, straight, 6)


def test_a_layers_gradient_that_stops_the_run_is_forgotten(
    built_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the bad step was good, and is judged again when the run goes on."""

    def bursting(*arguments: Any) -> dict[str, float]:
        norms = measured(*arguments)
        counted.append(len(counted))
        return {**norms, "layers.0": math.inf} if len(counted) == 4 else norms

    measured, counted = gradient_norms, list[int]()
    monkeypatch.setattr(walk, "gradient_norms", bursting)
    recipe = stage(
        guard={"window": 8, "not_finite": "ignore"}, layer_guard={"window": 8, "action": "stop"}
    )
    asked = request(str(built_run), tmp_path / "first", stage=recipe, save_every=100)
    monkeypatch.setattr(Guard, "judge", lambda guard, loss, _: guard._losses.append(loss))
    assert train(asked).state == "stopped"
    state = checkpoints.read_state(asked.checkpoints, 3)
    assert len(state["guard"]["losses"]) == 3


def losing(policy: Literal["stop", "skip"], ranks: set[int], asked: Request, layout: Layout) -> Any:
    """What a run in which some ranks cannot read a sequence skips by this rank, or the error."""
    read, close, states = Batches._ids, Batches.close, []

    def ids(batches: Batches, pieces: Any) -> Any:
        found, bad = read(batches, pieces)
        if LOST in found and int(os.environ["RANK"]) in ranks:
            del found[LOST]
            bad = {**bad, LOST: BadShard("a shard: is not there", 0)}
        return found, bad

    def remember(batches: Batches) -> None:
        states.append(batches.state())
        close(batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "_ids", ids)
        patch.setattr(Batches, "close", remember)
        try:
            train(replace(asked, layout=layout, on_bad_shard=policy))
        except BadShard as error:
            return str(error)
    return states[0]["skipped"]


def test_ranks_of_a_model_leave_out_what_one_of_them_cannot_read(
    straight: Request, tmp_path: Path
) -> None:
    curves = []
    for name, ranks in (("one", {1}), ("all", {0, 1})):
        asked = replace(straight, out=tmp_path / name)
        answers = run_ranks(losing, 2, "skip", ranks, asked, Layout(tp=2), seconds=150)
        assert answers == [[[LOST, LOST + 1]]] * 2
        state = checkpoints.read_state(asked.checkpoints, 10)
        assert state["data"]["skipped"] == [[LOST, LOST + 1]]
        curves.append(curve(asked.out))
    assert curves[0] == curves[1]
    assert curves[0][ITS_STEP - 1][1] != pytest.approx(curve(straight.out)[ITS_STEP - 1][1])


def test_a_shard_that_one_rank_cannot_read_ends_all_with_what_was_learned(
    straight: Request, tmp_path: Path
) -> None:
    asked = replace(straight, out=tmp_path / "first")
    answers = run_ranks(losing, 2, "stop", {0}, asked, Layout(), seconds=150)
    for told in answers:
        assert told == (
            "a shard: is not there; the run is saved at step 4 and goes on from there with --resume"
        )
    outcome = json.loads((asked.out / "outcome.json").read_text())
    assert (outcome["ok"], outcome["state"], outcome["step"]) == (False, "stopped", 4)
    assert outcome["checkpoint"] == str(checkpoints.path_of(asked.checkpoints, 4))
    assert outcome["why"] == "a shard: is not there"
    assert checkpoints.steps(asked.checkpoints) == [4]


def test_another_error_between_steps_loses_nothing(
    straight: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Batches.step

    def failing(batches: Batches, first: int, sequences: int) -> Any:
        if first == 20:
            raise DataError("found no such step")
        return whole(batches, first, sequences)

    asked = replace(straight, out=tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "step", failing)
        with pytest.raises(DataError, match="found no such step"):
            train(asked)
    assert json.loads((asked.out / "outcome.json").read_text())["why"] == "found no such step"
    goes_on(asked, straight, 5)


def test_a_run_that_skips_step_after_step_ends(
    straight: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(chunks: Any, batches: Sequence[Any], **named: Any) -> BatchResult:
        result = run_batch(chunks, batches, **named)
        return result._replace(loss=math.nan) if batches[0].first_sequence >= 8 else result

    guard = {"not_finite": "skip", "window": 8, "most_skipped": 3}
    asked = replace(straight, out=tmp_path / "first", stage=stage(guard=guard))
    monkeypatch.setattr(walk, "run_batch", spoiled)
    for resume in (False, True):
        outcome = train(replace(asked, resume=resume))
        assert (outcome.state, outcome.step) == ("stopped", 5)
        assert "3 steps before it were skipped, and guard.most_skipped" in outcome.why
    state = checkpoints.read_state(asked.checkpoints, 5)
    assert (state["skips"], state["data"]["left_out"]) == (3, [[8, 20]])
    assert state["diverged"].startswith("loss nan and")
    # A good step begins the count anew.
    monkeypatch.setattr(walk, "run_batch", run_batch)
    assert train(replace(asked, resume=True)).state == "finished"
    state = checkpoints.read_state(asked.checkpoints, 10)
    assert (state["skips"], state["diverged"]) == (0, "")
