"""Steps, rates and batches as functions of tokens read, against a walk over every step."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.stages import schedule
from trainer.stages.loading import load_stage
from trainer.stages.recipe import StageRecipe


def make(
    tokens: int, batch: list[tuple[int, int]], phases: list[dict[str, Any]], warmup: int = 0
) -> StageRecipe:
    return StageRecipe.model_validate(
        {
            "name": "s",
            "length": 1,
            "rope_base": 1e4,
            "tokens": tokens,
            "batch": [{"at": at, "tokens": size} for at, size in batch],
            "schedule": {"warmup_steps": warmup, "phases": phases},
        }
    )


def constant(tokens: int, batch: list[tuple[int, int]], warmup: int = 0) -> StageRecipe:
    return make(tokens, batch, [{"until": tokens, "rate": 1.0}], warmup)


@st.composite
def stages(draw: st.DrawFn) -> StageRecipe:
    tokens = draw(st.integers(1, 400))
    marks = draw(st.sets(st.integers(1, 500), max_size=4))
    sizes = st.integers(1, 60)
    batch = [(at, draw(sizes)) for at in [0, *sorted(marks)]]
    return constant(tokens, batch, draw(st.integers(0, 5)))


def walk(stage: StageRecipe) -> list[tuple[int, int]]:
    """First token and size of each step, by the definition."""
    found = []
    token = 0
    while token < stage.tokens:
        size = [mark.tokens for mark in stage.batch if mark.at <= token][-1]
        found.append((token, size))
        token += size
    return found


@given(stages())
def test_lookups_agree_with_a_walk(stage: StageRecipe) -> None:
    expected = walk(stage)
    steps = list(schedule.steps(stage))
    assert [(s.first_token, s.batch_tokens) for s in steps] == expected
    assert [s.step for s in steps] == list(range(len(expected)))
    assert schedule.step_count(stage) == len(expected)
    assert schedule.total_tokens(stage) == sum(expected[-1])
    for n, (first, size) in enumerate(expected):
        assert schedule.tokens_at(stage, n) == first
        for token in {first, first + size // 2, first + size - 1}:
            assert schedule.step_at(stage, token) == n
            assert schedule.batch_tokens(stage, token) == size
    end = schedule.total_tokens(stage)
    assert schedule.tokens_at(stage, len(expected)) == end
    assert schedule.step_at(stage, end) == len(expected)


def test_a_stage_goes_on_from_any_step() -> None:
    stage = load_stage("text_8k", Fraction(1, 64))
    whole = list(schedule.steps(stage))
    for start in (0, 1, 64, 65, 2000, len(whole)):
        assert list(schedule.steps(stage, start)) == whole[start:]


def test_the_size_changes_at_the_first_step_at_or_after_its_mark() -> None:
    stage = constant(60, [(0, 8), (12, 16), (32, 4)])
    assert [s.batch_tokens for s in schedule.steps(stage)] == [8, 8, 16, 4, 4, 4, 4, 4, 4, 4]
    # A step that passes over a whole size leaves it out.
    assert [s.batch_tokens for s in schedule.steps(constant(40, [(0, 16), (2, 1), (8, 8)]))] == [
        16, 8, 8, 8,
    ]  # fmt: skip


def test_the_last_step_reaches_the_budget() -> None:
    stage = constant(10, [(0, 4)])
    assert (schedule.step_count(stage), schedule.total_tokens(stage)) == (3, 12)


def test_rates_of_every_part() -> None:
    stage = make(
        1000,
        [(0, 10)],
        [
            {"until": 400, "rate": 1.0},
            {"until": 600, "rate": 0.5},
            {"until": 1000, "rate": 0.005, "shape": "exponential"},
        ],
        warmup=4,
    )
    rates = [s.rate for s in schedule.steps(stage)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[39:41] == [1.0, 0.5]
    assert rates[60] == 0.5
    assert rates[80] == pytest.approx(0.05)
    factors = [b / a for a, b in pairwise(rates[60:])]
    assert factors == pytest.approx([0.01 ** (1 / 40)] * len(factors))
    assert rates[-1] == pytest.approx(0.005 * 0.01 ** (-1 / 40))


def test_the_warm_up_takes_a_tenth_of_a_stage_at_most() -> None:
    stage = constant(1000, [(0, 10)], warmup=500)
    assert schedule.warmup_tokens(stage) == 100
    assert [s.rate for s in schedule.steps(stage)][:11] == pytest.approx(
        [n / 10 for n in range(1, 11)] + [1.0]
    )


@given(stages())
def test_no_step_has_rate_0_and_none_more_than_the_peak(stage: StageRecipe) -> None:
    assert all(0 < s.rate <= 1.0 for s in schedule.steps(stage))


@pytest.mark.parametrize("tokens", [-1, 12])
def test_tokens_outside_of_the_stage(tokens: int) -> None:
    stage = constant(10, [(0, 4)])
    for function in (schedule.rate, schedule.batch_tokens):
        with pytest.raises(ValueError, match="expected one of 0 to 11"):
            function(stage, tokens)
    with pytest.raises(ValueError, match="found step 4, expected one of 0 to 3"):
        schedule.tokens_at(stage, 4)
