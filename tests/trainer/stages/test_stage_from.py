"""Chains by another way than the stages' files say: ``--from``."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.recipe import RecipeError
from trainer.command import _requests, parser
from trainer.run.request import Request, RunRefused
from trainer.stages.loading import chain, joined

TEXT = ["text_8k", "text_128k", "text_512k", "text_1m"]


def _asked(*options: str) -> list[Request]:
    out = str(Path("/somewhere") / options[0])
    given = ["run", "--model", "tiny-vl", "--corpus", "run", "--out", out, "--stage", *options]
    return _requests(parser().parse_args(given))


def test_the_long_way_goes_through_all_of_the_text() -> None:
    assert joined(chain("vl_stage2"), chain("text_1m")) == [*TEXT, "vl_stage1", "vl_stage2"]
    assert joined(chain("vl_stage2"), chain("text_8k")) == chain("vl_stage2")
    requests = _asked("vl_stage2", "--chain", "--from", "text_1m")
    assert [request.stage.name for request in requests] == [*TEXT, "vl_stage1", "vl_stage2"]
    after = [request.stage.after for request in requests]
    assert after == [None, *TEXT, "vl_stage1"]
    assert [request.out.name for request in requests] == [*TEXT, "vl_stage1", "vl_stage2"]
    assert [request.stage.after for request in _asked("vl_stage2", "--chain")][1] == "text_8k"


def test_one_stage_by_another_way() -> None:
    (one,) = _asked("vl_stage1", "--from", "text_1m")
    assert one.stage.after == "text_1m"
    assert one.predecessor == Path("/somewhere/text_1m")
    assert one.make_before[:2] == ("--stage", "text_1m")
    assert "--from" not in one.make_before
    (two,) = _asked("vl_stage2", "--from", "text_1m")
    assert two.stage.after == "vl_stage1"
    told = two.make_before
    assert told[told.index("--from") + 1] == "text_1m"


@pytest.mark.parametrize(
    ("stage", "start", "found"),
    [
        ("text_8k", "text_1m", "which text_8k is a part of"),
        ("vl_stage1", "vl_stage2", "which vl_stage1 is a part of"),
        ("vl_stage1", "vl_stage1", "which vl_stage1 is a part of"),
        ("vl_stage2", "text_1n", "did you mean 'text_1m'"),
    ],
)
def test_a_way_that_leads_nowhere(stage: str, start: str, found: str) -> None:
    with pytest.raises(RecipeError, match=found):
        _asked(stage, "--chain", "--from", start)


def test_a_model_that_cannot_see_is_refused_before_the_first_stage() -> None:
    given = ["run", "--model", "tiny", "--corpus", "run", "--out", "/x/vl_stage2", "--chain"]
    with pytest.raises(RunRefused, match=r"without a vision block, expected .* such as tiny-vl"):
        _requests(parser().parse_args([*given, "--stage", "vl_stage2"]))
