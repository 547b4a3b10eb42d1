"""Going back from a bad step: what is left out, what is not, and that a kill changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.trainer.commands.calls import call
from tests.trainer.ranks import run_ranks
from tests.trainer.run.small_runs import curve, metrics, request, stage
from trainer.data.corpus import Corpus
from trainer.data.explain import RunRead
from trainer.data.ledger import StepLedger
from trainer.megatron import checkpoints
from trainer.megatron.start import Layout
from trainer.run import rollback, walk
from trainer.run.batch import BatchResult, run_batch
from trainer.run.outcome import Outcome
from trainer.run.recorder import Recorder
from trainer.run.request import Request, RunRefused
from trainer.run.train import train

FIRST = {5: 16, 6: 20, 7: 24}
"""Of some steps, the first sequence; steps 5 and 6 have four, step 7 has eight."""


def spoiled(*steps: int) -> Callable[..., BatchResult]:
    """``run_batch`` whose loss is no number in these steps, on every rank."""
    bad = {FIRST[step] for step in steps}

    def run(chunks: Any, batches: Sequence[Any], **named: Any) -> BatchResult:
        result = run_batch(chunks, batches, **named)
        mine = torch.tensor(batches[0].first_sequence in bad, dtype=torch.int32)
        dist.all_reduce(mine, dist.ReduceOp.MAX)
        return result._replace(loss=math.nan) if mine else result

    return run


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda *steps: monkeypatch.setattr(walk, "run_batch", spoiled(*steps))


def guarded(built_run: Path, out: Path, action: str, **changes: Any) -> Request:
    """A run with a checkpoint every second step, and what a guard does with a bad one."""
    recipe = stage(
        guard={"not_finite": action, "window": 8},
        layer_guard={"window": 8, "ratio": 1e9},
        **changes,
    )
    return request(str(built_run), out, stage=recipe, save_every=2)


def ledger(asked: Request) -> dict[int, str]:
    """What the step ledger says of each step's being left out."""
    found = StepLedger(asked.out / "steps.jsonl")
    return {step: found[step].left_out for step in range(1, len(found) + 1)}


def last_state(asked: Request) -> dict[str, Any]:
    step = checkpoints.latest(asked.checkpoints)
    assert step is not None
    return checkpoints.read_state(asked.checkpoints, step)


@pytest.fixture(scope="module")
def skipping(built_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    """Runs that skip step 7, and steps 5 to 7: the weights then are as if those were not there."""
    found = []
    for steps in ((7,), (5, 6, 7)):
        asked = guarded(built_run, tmp_path_factory.mktemp("skip") / "first", "skip")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(walk, "run_batch", spoiled(*steps))
            assert train(asked).state == "finished"
        found.append(asked)
    return found


def taken(asked: Request) -> list[tuple[int, float, float, int]]:
    """The curve without steps that were computed and skipped."""
    steps = {line["step"] for line in metrics(asked.out) if line["taken"]}
    return [point for point in curve(asked.out) if point[0] in steps]


def test_a_skipped_step_is_written_down_as_left_out(skipping: list[Request]) -> None:
    asked = skipping[0]
    assert {step for step, why in ledger(asked).items() if why} == {7}
    assert last_state(asked)["data"]["left_out"] == [[24, 32]]
    assert len(taken(asked)) == 9


def test_a_step_without_labels_is_not_taken(
    built_run: Path, skipping: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(chunks: Any, batches: Sequence[Any], **named: Any) -> BatchResult:
        result = run_batch(chunks, batches, **named)
        lacking = batches[0].first_sequence == FIRST[7]
        return result._replace(loss=math.nan, labels=0) if lacking else result

    asked = guarded(built_run, tmp_path / "first", "stop")
    monkeypatch.setattr(walk, "run_batch", without)
    assert train(asked).state == "finished"
    assert taken(asked) == taken(skipping[0])
    assert {step: why for step, why in ledger(asked).items() if why} == {7: "no labels"}


@pytest.mark.parametrize(("before", "left", "to"), [(0, {7}, 6), (2, {5, 6, 7}, 4)])
def test_a_run_goes_back_and_leaves_the_steps_out(
    built_run: Path, skipping: list[Request], spoil: Callable[..., None], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], before: int, left: set[int], to: int,
) -> None:  # fmt: skip
    asked = guarded(built_run, tmp_path / "first", "roll_back", roll_back={"before": before})
    spoil(7)
    outcome = train(asked)
    assert (outcome.state, outcome.step) == ("finished", 10)
    wanted = [point for point in taken(skipping[before > 0]) if point[0] not in left]
    assert curve(asked.out) == wanted
    # Rates and tokens are those of the place in the plan.
    rates = {line["step"]: (line["lr"], line["tokens"]) for line in metrics(skipping[0].out)}
    assert all(rates[x["step"]] == (x["lr"], x["tokens"]) for x in metrics(asked.out))
    assert ledger(asked) == {n: "roll_back" if n in left else "" for n in range(1, 11)}
    state = last_state(asked)
    first = FIRST[min(left)]
    assert state["data"]["left_out"] == [[first, 32]]
    assert [(x["step"], x["to"], x["first"], x["stop"]) for x in state["rollbacks"]] == [
        (7, to, first, 32)
    ]
    (line,) = [json.loads(x) for x in (asked.out / "bad_steps.jsonl").read_text().splitlines()]
    assert (line["step"], line["action"], line["to"]) == (7, "roll_back", to)
    assert line["documents"]
    capsys.readouterr()
    call("explain", asked.out, "--corpus", built_run, "--step", 7)
    assert "left out (roll_back): not trained on" in capsys.readouterr().out
    run = RunRead(asked.out, Corpus.open(built_run))
    documents = run.documents(7)
    assert [one.origin.doc_id for one in documents if one.tokens]
    _, found = run.occurrences(documents[0].origin.doc_id)
    assert {one.left_out for one in found if one.step == 7} == {"roll_back"}
    assert all(one.left_out == "" for one in found if one.step not in left)


class Killed(Exception):
    """Stands for a signal that no process sees."""


def _kill(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.parametrize(
    ("where", "name"),
    [(rollback, "discard"), (Recorder, "bad"), (Recorder, "roll_back"), (Recorder, "left_out")],
)
def test_a_run_that_is_killed_while_it_goes_back_goes_on_as_one_that_is_not(
    built_run: Path, skipping: list[Request], spoil: Callable[..., None], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str,
) -> None:  # fmt: skip
    asked = guarded(built_run, tmp_path / "first", "roll_back", roll_back={"before": 2})
    spoil(7)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, _kill)
        with pytest.raises(Killed):
            train(asked)
    if name != "bad":  # what was bad then is not found again: the list must say so
        spoil()
    assert train(replace(asked, resume=True)).state == "finished"
    assert curve(asked.out) == [point for point in taken(skipping[1]) if point[0] not in (5, 6, 7)]
    assert {step for step, why in ledger(asked).items() if why} == {5, 6, 7}


@pytest.mark.parametrize("lost", ["nothing", "checkpoints", "list"])
def test_a_run_that_rolled_back_stops_and_goes_on_bit_for_bit(
    built_run: Path, skipping: list[Request], spoil: Callable[..., None], tmp_path: Path, lost: str
) -> None:
    asked = guarded(built_run, tmp_path / "first", "roll_back", roll_back={"before": 2})
    spoil(7)
    train(replace(asked, steps=7))
    if lost == "checkpoints":  # those since it went back; the list knows what they knew
        assert checkpoints.steps(asked.checkpoints) == [4, 6, 7]
        checkpoints.delete(asked.checkpoints, 7)
        checkpoints.delete(asked.checkpoints, 6)
    elif lost == "list":  # the last checkpoint has it
        (asked.out / rollback.ROLLBACKS).unlink()
    spoil()
    assert train(replace(asked, resume=True)).state == "finished"
    assert curve(asked.out) == [point for point in taken(skipping[1]) if point[0] not in (5, 6, 7)]
    assert last_state(asked)["data"]["left_out"] == [[16, 32]]


def test_a_run_goes_back_so_often_and_then_stops(
    built_run: Path, spoil: Callable[..., None], tmp_path: Path
) -> None:
    asked = guarded(built_run, tmp_path / "first", "roll_back", roll_back={"most": 1})
    spoil(5, 7)
    outcome = train(asked)
    assert (outcome.state, outcome.step) == ("stopped", 6)
    assert "rolled back 1 times, and roll_back.most of the stage allows 1" in outcome.why
    lines = [json.loads(x) for x in (asked.out / "bad_steps.jsonl").read_text().splitlines()]
    assert [(x["step"], x["action"]) for x in lines] == [(5, "roll_back"), (7, "stop")]
    assert ledger(asked) == {n: "roll_back" if n == 5 else "" for n in range(1, 7)}


def test_without_a_checkpoint_to_go_back_to_the_run_stops(
    built_run: Path, spoil: Callable[..., None], tmp_path: Path
) -> None:
    asked = guarded(built_run, tmp_path / "first", "roll_back")
    spoil(5)
    outcome = train(replace(asked, save_every=100))
    assert (outcome.state, outcome.step) == ("stopped", 4)
    assert "found no checkpoint from before it to go back to" in outcome.why


def test_a_list_that_is_none_is_refused(
    built_run: Path, skipping: list[Request], tmp_path: Path
) -> None:
    asked = skipping[0]
    path = asked.out / rollback.ROLLBACKS
    path.write_text("[{")
    with pytest.raises(RunRefused, match=r"rollbacks.json: found no list of rollbacks"):
        train(replace(asked, resume=True))
    path.unlink()


def _spoiled_on_ranks(asked: Request, layout: Layout, steps: tuple[int, ...]) -> Outcome:
    pytest.MonkeyPatch().setattr(walk, "run_batch", spoiled(*steps))
    return train(replace(asked, layout=layout))


def test_ranks_go_back_together(built_run: Path, tmp_path: Path) -> None:
    outcomes, curves = [], []
    for action, steps in (("skip", (5, 6, 7)), ("roll_back", (7,))):
        asked = guarded(built_run, tmp_path / action, action, roll_back={"before": 2})
        outcomes += run_ranks(_spoiled_on_ranks, 2, asked, Layout(tp=2), steps, seconds=150)
        curves.append([point for point in taken(asked) if point[0] not in (5, 6, 7)])
        assert {step for step, why in ledger(asked).items() if why} == {5, 6, 7}
    assert {(one.state, one.step) for one in outcomes} == {("finished", 10)}
    assert outcomes[2] == outcomes[3]
    assert curves[0] == curves[1]
