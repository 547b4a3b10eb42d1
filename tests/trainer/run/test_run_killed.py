"""Runs that are killed (by SIGKILL: nothing more is saved) and go on as if they had not been."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest

from tests.trainer.ranks import RankFailed, run_ranks
from tests.trainer.run.saved_bits import saved_bits
from tests.trainer.run.small_runs import curve, request, train_on_ranks
from trainer.megatron import checkpoints
from trainer.megatron.start import Layout
from trainer.run.recorder import Recorder
from trainer.run.request import Request

pytestmark = pytest.mark.long

When = Literal["before the first checkpoint", "between checkpoints", "while one is written"]
FOUND: dict[When, int | None] = {
    "before the first checkpoint": None,
    "between checkpoints": 4,
    "while one is written": 4,
}
"""The last whole checkpoint that a run killed so has left; they are due at 4, 8 and 10."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(asked: Request, layout: Layout, when: When) -> None:
    """What each rank runs; it does not return."""
    written, mark = Recorder.step, checkpoints._mark

    def step(recorder: Recorder, now: Any, *rest: Any, **named: Any) -> None:
        written(recorder, now, *rest, **named)
        saved = checkpoints.latest(asked.checkpoints)
        if when == "before the first checkpoint" and now.step == 2:
            die()
        # A checkpoint is written while steps go on: one or more after the step it is of.
        if when == "between checkpoints" and now.step >= 5 and saved == 4:
            die()

    def marked(path: Path, at: int, *rest: Any) -> None:
        if when == "while one is written" and at == 8:
            die()
        mark(path, at, *rest)

    with mock.patch.object(Recorder, "step", step), mock.patch.object(checkpoints, "_mark", marked):
        train_on_ranks(asked, layout)


@pytest.mark.parametrize("when", FOUND)
@pytest.mark.parametrize(
    ("layout", "world"), [(Layout(), 1), (Layout(ep=2), 2)], ids=["alone", "two ranks"]
)
def test_a_killed_run_goes_on_bit_for_bit(
    built_run: Path, tmp_path: Path, layout: Layout, world: int, when: When
) -> None:
    straight = request(str(built_run), tmp_path / "straight" / "first")
    run_ranks(train_on_ranks, world, straight, layout, seconds=300)
    killed = replace(straight, out=tmp_path / "killed" / "first")
    # Of two ranks the other may be the first to notice, and to say why it cannot go on.
    with pytest.raises(RankFailed, match="exit code -9" if world == 1 else "rank"):
        run_ranks(train_until_killed, world, killed, layout, when, seconds=300)
    assert checkpoints.latest(killed.checkpoints) == FOUND[when]
    before = curve(killed.out)
    assert 2 <= len(before) < 10
    resumed = replace(killed, resume=True)
    outcomes = run_ranks(train_on_ranks, world, resumed, layout, seconds=300)
    assert [outcome.state for outcome in outcomes] == ["finished"] * world
    assert curve(killed.out) == curve(straight.out)
    assert curve(straight.out)[: len(before)] == before
    assert saved_bits(killed.checkpoints, 10) == saved_bits(straight.checkpoints, 10)
