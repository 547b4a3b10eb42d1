"""The stages that come with the project, against MiniMax-01's text and table 6, and scaled."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from dataflow.recipe import RecipeError
from trainer.stages import schedule
from trainer.stages.loading import chain, load_stage, names_of
from trainer.stages.recipe import StageRecipe
from trainer.stages.scaling import MIN_STEPS, scaled

CURRICULUM = ["text_8k", "text_128k", "text_512k", "text_1m"]


@pytest.mark.parametrize(
    ("name", "length", "base", "tokens", "shares"),
    [
        ("text_128k", 131_072, 5e6, 300e9, (0.30, 0.70, 0.00)),
        ("text_512k", 524_288, 1e7, 32e9, (0.35, 0.35, 0.30)),
        ("text_1m", 1_048_576, 1e7, 26e9, (0.30, 0.30, 0.40)),
    ],
)
def test_table_6(
    name: str, length: int, base: float, tokens: float, shares: tuple[float, float, float]
) -> None:
    stage = load_stage(name)
    assert (stage.length, stage.rope_base, stage.tokens) == (length, base, tokens)
    assert stage.shares is not None
    assert (stage.shares.short, stage.shares.medium, stage.shares.long) == shares
    assert (stage.long_qa.share, stage.long_qa.last) == (0.10, 0.20)


def test_pre_training_is_the_papers() -> None:
    stage = load_stage("text_8k")
    assert (stage.length, stage.rope_base) == (8192, 10_000)
    assert [(mark.at, mark.tokens) for mark in stage.batch] == [
        (0, 16 << 20),
        (69 * 10**9, 32 << 20),
        (790 * 10**9, 64 << 20),
        (4_700 * 10**9, 128 << 20),
    ]
    assert schedule.rate(stage, 0) == pytest.approx(2e-4 / 500)
    assert schedule.rate(stage, 499 * (16 << 20)) == 2e-4
    assert schedule.rate(stage, 7_199 * 10**9) == 2e-4
    assert schedule.rate(stage, 7_200 * 10**9) == 1.3e-4
    assert schedule.rate(stage, 10_900 * 10**9) == pytest.approx((1.3e-4 * 3e-5) ** 0.5)
    assert schedule.rate(stage, stage.tokens - 1) == pytest.approx(3e-5)
    assert stage.long_qa.share == 0
    assert stage.after is None


def test_classes_of_documents() -> None:
    stage = load_stage("text_512k")
    classes = [stage.class_of(n << 10) for n in (31, 32, 128, 129)]
    assert classes == ["short", "medium", "medium", "long"]
    small = load_stage("text_512k", Fraction(1, 64))
    assert [small.class_of(n) for n in (511, 512, 2048, 2049)] == classes


def test_each_stage_starts_from_the_one_before() -> None:
    assert chain("text_1m") == CURRICULUM
    assert chain("text_1m", "smooth") == ["text_8k", "text_32k", *CURRICULUM[1:]]


def test_the_smoother_curriculum_splits_the_tokens_of_the_first_extension() -> None:
    first, second = (
        load_stage("text_32k", variant="smooth"),
        load_stage("text_128k", variant="smooth"),
    )
    assert first.tokens + second.tokens == load_stage("text_128k").tokens
    assert second.schedule.phases[-1].until == second.tokens
    assert second.batch == load_stage("text_128k").batch
    jumps = [load_stage(name).length for name in chain("text_1m", "smooth")]
    assert max(b / a for a, b in pairwise(jumps)) == 4


def test_scale_1_64_makes_the_four_lengths() -> None:
    stages = [load_stage(name, Fraction(1, 64)) for name in CURRICULUM]
    assert [stage.length for stage in stages] == [128, 2048, 8192, 16384]
    assert {stage.class_length for stage in stages} == {2048}
    assert [stage.rope_base for stage in stages] == [1e4, 5e6, 1e7, 1e7]
    first = stages[0]
    assert first.batch[0].tokens == 32 * 128  # of 2048 · 8192, 1/64 of the sequences
    assert first.tokens == round(11.4e12 / 64**3)
    assert first.schedule.phases[0].rate == pytest.approx(8 * 2e-4)
    assert first.scale == Fraction(1, 64)


@pytest.mark.parametrize("name", [*CURRICULUM, "text_32k"])
@pytest.mark.parametrize("scale", ["1", "1/2", "1/64", "1/256", "3/64"])
def test_scaled_stages_are_sane(name: str, scale: str) -> None:
    stage = load_stage(name, Fraction(scale))
    assert schedule.step_count(stage) >= 32
    assert stage.tokens >= 32 * stage.length
    assert schedule.total_tokens(stage) < stage.tokens + max(m.tokens for m in stage.batch)
    assert StageRecipe.model_validate_json(stage.model_dump_json()) == stage


def test_another_budget_keeps_the_course_of_the_stage() -> None:
    stage = load_stage("text_8k", tokens=2_000_000_000)
    assert schedule.rate(stage, 1_300_000_000) == 1.3e-4  # 65 % of the stage
    assert schedule.warmup_tokens(stage) == 200_000_000
    # 16Mi would make 120 steps; later sizes are halved to the same.
    assert [(mark.at, mark.tokens) for mark in stage.batch] == [(0, 8 << 20)]
    assert schedule.step_count(stage) >= MIN_STEPS


def test_another_batch_keeps_the_doublings() -> None:
    stage = load_stage("text_8k", tokens=8_000_000_000, batch=1 << 20)
    assert [mark.tokens for mark in stage.batch] == [1 << 20, 2 << 20, 4 << 20, 8 << 20]
    assert stage.batch[3].at == 8_000_000_000 * 4_700 // 11_400


def test_another_rate_keeps_the_ratios() -> None:
    stage = load_stage("text_8k", Fraction(1, 64), rate=1e-3)
    assert [phase.rate for phase in stage.schedule.phases] == pytest.approx([1e-3, 6.5e-4, 1.5e-4])


def test_scaling_twice_is_scaling_once_where_no_floor_is_met() -> None:
    twice = scaled(load_stage("text_8k", Fraction(1, 4)), Fraction(1, 2))
    once = load_stage("text_8k", Fraction(1, 8))
    assert (twice.length, twice.scale) == (once.length, once.scale)
    assert [m.tokens for m in twice.batch] == [m.tokens for m in once.batch]
    assert twice.tokens == pytest.approx(once.tokens, abs=2)


def test_a_scale_that_does_not_fit_names_those_that_do() -> None:
    with pytest.raises(RecipeError, match=r"1/100.*81\.92.*nearest scales are 1/128 and 1/64"):
        load_stage("text_8k", Fraction(1, 100))
    with pytest.raises(RecipeError, match="nearest scales are 1/256 and 1/128") as refused:
        load_stage("text_8k", Fraction(1, 4096))
    for scale in ("1/256", "1/128"):
        assert scale in str(refused.value)
        assert load_stage("text_8k", Fraction(scale)).length >= 32


def test_a_budget_of_less_than_a_sequence() -> None:
    with pytest.raises(
        RecipeError, match="a budget of 1000 tokens, expected at least one sequence"
    ):
        load_stage("text_8k", tokens=1000)
    assert schedule.step_count(load_stage("text_8k", tokens=8192)) == 1


def test_every_stage_loads() -> None:
    assert set(names_of("stages")) >= {*CURRICULUM, "text_32k"}
    for name in names_of("stages"):
        assert load_stage(name).name == name
