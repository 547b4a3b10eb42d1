"""A stage for a smaller model: everything by one number, or by another budget or batch."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from trainer.stages.recipe import StageRecipe

MIN_LENGTH = 32
"""Tokens of the shortest sequence that scaling may make."""
MIN_SEQUENCES = 32
"""Sequences of the smallest budget that scaling makes by itself."""
MIN_STEPS = 128
"""Steps that a smaller budget keeps, where batches of one sequence allow it: fewer hardly move
AdamW's moments, whose memory is 1 / (1 - 0.95) = 20 steps."""


class ScaleRefused(ValueError):
    """A scale or a budget that does not fit a stage: what was found, and what was expected."""

    def __init__(self, stage: StageRecipe, found: str, expected: str) -> None:
        self.found, self.expected = found, expected
        super().__init__(f"stage {stage.name}: found {found}, expected {expected}")


def scaled(
    stage: StageRecipe,
    scale: Fraction = Fraction(1),
    *,
    tokens: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
) -> StageRecipe:
    """The stage at ``scale`` s, and with other budgets where they are given.

    Lengths (the sequence's and those of the length classes) are multiplied by s, sequences of a
    batch by s too (so a batch's tokens by s²), steps by s (so the budget by s³, though at least
    ``MIN_SEQUENCES`` sequences), and learning rates by s^-½. So 1/64 makes 43.5M tokens in steps of
    4096 out of 11.4T in steps of 16Mi. Lengths are what the curriculum asks for. The rest is this
    project's choice, no paper's: small models bear, and need, higher rates and smaller batches.

    Marks of the schedule and of batch sizes keep their place in the stage: with half the tokens
    each comes after half as many. Where that would leave fewer than ``MIN_STEPS`` steps, batches
    are halved until it does not or they are one sequence.

    Parameters
    ----------
    stage: as its file gives it, or scaled before: scales multiply.
    scale: above 0.
    tokens: the budget instead of the scaled one.
    batch: tokens of the first batch size instead of the scaled ones; the later sizes keep their
        ratio to it. It is rounded to whole sequences and taken as it is: nothing halves it.
    rate: the first phase's learning rate instead of the scaled one; the others keep their ratio.

    Raises
    ------
    ScaleRefused
        If a length would not be a whole number of at least 32 tokens (names the nearest scales
        that work), or the budget is less than a sequence.
    """
    length = _length(stage, scale)
    if tokens is None:
        tokens = stage.tokens
        if scale != 1:
            tokens = max(round(tokens * scale**3), MIN_SEQUENCES * length)
    if tokens < length:
        raise ScaleRefused(
            stage, f"a budget of {tokens} tokens", f"at least one sequence of {length}"
        )
    factor = float(scale) ** -0.5 if rate is None else rate / stage.schedule.phases[0].rate
    return _rebuilt(stage, scale, length, tokens, batch, factor)


def _rebuilt(
    stage: StageRecipe,
    scale: Fraction,
    length: int,
    tokens: int,
    batch: int | None,
    rate_factor: float,
) -> StageRecipe:
    first = stage.batch[0].tokens
    factor = scale**2 if batch is None else Fraction(batch, first)
    smaller = tokens < stage.tokens and batch is None
    marks: dict[int, int] = {}
    for mark in stage.batch:
        sequences = max(1, round(mark.tokens * factor / length))
        while smaller and sequences > 1 and sequences * length * MIN_STEPS > tokens:
            sequences //= 2
        marks[mark.at * tokens // stage.tokens] = sequences * length
    phases: list[dict[str, Any]] = []
    for phase in stage.schedule.phases:
        until = phase.until * tokens // stage.tokens
        if until > (phases[-1]["until"] if phases else 0):
            shape = phase.shape if phases else "constant"
            phases.append({"until": until, "rate": phase.rate * rate_factor, "shape": shape})
    return StageRecipe.model_validate(
        {
            **stage.model_dump(),
            "length": length,
            "class_length": max(4, round(stage.class_length * scale)),
            "tokens": tokens,
            "batch": [{"at": at, "tokens": size} for at, size in _changes(marks)],
            "schedule": {"warmup_steps": stage.schedule.warmup_steps, "phases": phases},
            "scale": stage.scale * scale,
        }
    )


def _changes(marks: dict[int, int]) -> list[tuple[int, int]]:
    """The marks at which a size differs from the one before."""
    kept: list[tuple[int, int]] = []
    for at, size in sorted(marks.items()):
        if not kept or kept[-1][1] != size:
            kept.append((at, size))
    return kept


def _length(stage: StageRecipe, scale: Fraction) -> int:
    length = stage.length * scale
    if length.denominator == 1 and length >= MIN_LENGTH:
        return int(length)
    exact = max(MIN_LENGTH, float(length))
    below = max(MIN_LENGTH, 1 << (int(exact).bit_length() - 1))
    near = sorted({Fraction(below, stage.length), Fraction(2 * below, stage.length)})
    raise ScaleRefused(
        stage,
        f"scale {scale}, which makes its length of {stage.length} tokens {float(length):g}",
        f"a whole number of at least {MIN_LENGTH}; the nearest scales are "
        f"{' and '.join(map(str, near))}",
    )
