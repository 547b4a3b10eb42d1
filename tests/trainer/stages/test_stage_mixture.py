"""Shares over a stage: the transition, the long questions at its end, and a corpus without them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from dataflow.recipe import RecipeError
from trainer.stages.loading import RECIPES, load_stage
from trainer.stages.mixture import MissingComponent, check_long_qa, knots
from trainer.stages.recipe import LongQA, StageRecipe

BEFORE = {"short": 0.9, "medium": 0.1, "long": 0.0}
SCALE = Fraction(1, 64)


def stage(interpolation: float = 0.05, last: float = 0.2) -> StageRecipe:
    found = load_stage("text_1m", SCALE, tokens=1_000_000)
    questions = LongQA(last=last) if last else LongQA(share=0)
    return found.model_copy(update={"interpolation": interpolation, "long_qa": questions})


def test_shares_go_in_a_straight_line_and_make_room_for_questions() -> None:
    line = knots(stage(), BEFORE)
    assert [knot.tokens for knot in line] == [0, 50_000, 800_000, 800_000, 1_000_000]
    assert line[0].shares == {**BEFORE, "long_qa": 0.0}
    settled = {"short": 0.3, "medium": 0.3, "long": 0.4, "long_qa": 0.0}
    assert line[1].shares == line[2].shares == settled
    late = {"short": 0.27, "medium": 0.27, "long": 0.36, "long_qa": 0.10}
    assert line[3].shares == line[4].shares == pytest.approx(late)


@pytest.mark.parametrize("before", [None, BEFORE])
@pytest.mark.parametrize(
    ("interpolation", "last"),
    [(0.0, 0.0), (0.0, 0.2), (0.0, 1.0), (0.05, 0.95), (0.05, 0.0), (0.8, 0.2), (1.0, 0.0)],
)
def test_the_sum_is_1_and_tokens_rise(
    before: dict[str, float] | None, interpolation: float, last: float
) -> None:
    line = knots(stage(interpolation, last), before)
    assert (line[0].tokens, line[-1].tokens) == (0, 1_000_000)
    assert all(a.tokens <= b.tokens and a != b for a, b in pairwise(line))
    for knot in line:
        assert sum(knot.shares.values()) == pytest.approx(1)
    assert line[-1].shares.get("long_qa", 0) == (0.1 if last else 0)


def test_without_questions_there_is_no_such_component() -> None:
    plain = load_stage("text_1m", SCALE, long_qa=0)
    assert [set(knot.shares) for knot in knots(plain)] == [{"short", "medium", "long"}] * 2


def test_a_stage_that_draws_as_the_corpus_has_it_has_no_shares() -> None:
    with pytest.raises(ValueError, match="text_8k: found no shares"):
        knots(load_stage("text_8k"))


def test_the_transition_ends_before_the_questions_begin(tmp_path: Path) -> None:
    text = (RECIPES / "stages" / "text_1m.yaml").read_text()
    path = tmp_path / "text_1m.yaml"
    path.write_text(text.replace("interpolation: 0.05", "interpolation: 0.9"))
    with pytest.raises(RecipeError, match="over the first 90% and long questions over the last 20"):
        load_stage(path)


def test_a_corpus_without_questions() -> None:
    found = load_stage("text_1m", SCALE)
    with pytest.raises(
        MissingComponent, match=r"no document of long-qa in c.*are books, web;.*0 to"
    ):
        check_long_qa(found, {"web", "books"}, "c")
    check_long_qa(found, {"web", "long-qa"}, "c")
    check_long_qa(load_stage("text_1m", SCALE, long_qa=0), {"web"}, "c")
