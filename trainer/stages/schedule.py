"""Which step reads which tokens, at which rate: pure functions of the tokens read in a stage.

A step begins when ``tokens`` tokens of the stage have been read and reads one global batch. Batch
sizes change at the first step at or after their mark, so every boundary between two steps is known
beforehand: a lookup by step or by token walks the marks, never the steps. Nothing here depends on
the loss, on ``--steps``, or on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trainer.stages.recipe import StageRecipe


class Step(NamedTuple):
    """One step: its number from 0, its first token, how many it reads, and its learning rate."""

    step: int
    first_token: int
    batch_tokens: int
    rate: float


class _Run(NamedTuple):
    """Steps of one batch size: the first one's number and token, the size, and how many."""

    step: int
    token: int
    batch: int
    steps: int


def rate(stage: StageRecipe, tokens: int) -> float:
    """The learning rate of the step that begins after ``tokens`` tokens of the stage.

    In the warm-up the step's own batch counts too, so that the first step has a rate above 0 and
    the last one of the warm-up the whole rate.

    Raises
    ------
    ValueError
        If ``tokens`` is outside of the stage.
    """
    batch = batch_tokens(stage, tokens)
    warmup = warmup_tokens(stage)
    begin = 0
    former = stage.schedule.phases[0].rate
    value = former
    for phase in stage.schedule.phases:
        value = phase.rate
        if tokens < phase.until:
            if phase.shape == "exponential":
                value = former * (phase.rate / former) ** ((tokens - begin) / (phase.until - begin))
            break
        begin, former = phase.until, phase.rate
    return value * min(1.0, (tokens + batch) / warmup) if warmup else value


def warmup_tokens(stage: StageRecipe) -> int:
    """Tokens of the warm-up: its steps of the first batch size, at most a tenth of the stage."""
    return min(stage.schedule.warmup_steps * stage.batch[0].tokens, stage.tokens // 10)


def batch_tokens(stage: StageRecipe, tokens: int) -> int:
    """Tokens of the global batch that holds the stage's token number ``tokens``, from 0.

    Raises
    ------
    ValueError
        If ``tokens`` is outside of the stage.
    """
    return _run_at(stage, tokens).batch


def step_count(stage: StageRecipe) -> int:
    """Steps of the whole stage."""
    last = _runs(stage)[-1]
    return last.step + last.steps


def total_tokens(stage: StageRecipe) -> int:
    """Tokens that the whole stage reads: its budget, up to the end of the step that reaches it."""
    last = _runs(stage)[-1]
    return last.token + last.steps * last.batch


def step_at(stage: StageRecipe, tokens: int) -> int:
    """The step, from 0, that reads the stage's token number ``tokens``.

    At the end of the stage, :func:`total_tokens`, it is :func:`step_count`: after N steps, the
    token that comes next is step N's first one.

    Raises
    ------
    ValueError
        If ``tokens`` is outside of the stage.
    """
    if tokens == total_tokens(stage):
        return step_count(stage)
    run = _run_at(stage, tokens)
    return run.step + (tokens - run.token) // run.batch


def tokens_at(stage: StageRecipe, step: int) -> int:
    """Tokens read before a step (from 0), which is after ``step`` steps.

    Raises
    ------
    ValueError
        If the stage has no such step and does not end with it.
    """
    if not 0 <= step <= step_count(stage):
        raise ValueError(
            f"stage {stage.name}: found step {step}, expected one of 0 to {step_count(stage)}"
        )
    runs = _runs(stage)
    run = next(run for run in reversed(runs) if run.step <= step)
    return run.token + (step - run.step) * run.batch


def steps(stage: StageRecipe, start: int = 0) -> Iterator[Step]:
    """All steps of a stage in order, from step ``start`` on."""
    token = tokens_at(stage, start)
    for step in range(start, step_count(stage)):
        batch = batch_tokens(stage, token)
        yield Step(step, token, batch, rate(stage, token))
        token += batch


def _run_at(stage: StageRecipe, tokens: int) -> _Run:
    if not 0 <= tokens < total_tokens(stage):
        raise ValueError(
            f"stage {stage.name}: found token {tokens}, expected one of 0 to "
            f"{total_tokens(stage) - 1}"
        )
    return next(run for run in reversed(_runs(stage)) if run.token <= tokens)


def _runs(stage: StageRecipe) -> list[_Run]:
    """Steps of equal batches, in order; a size whose mark another one passes over has none."""
    runs: list[_Run] = []
    step = token = 0
    marks = [mark.at for mark in stage.batch[1:]] + [stage.tokens]
    for mark, end in zip(stage.batch, marks, strict=True):
        count = max(0, -(-(min(end, stage.tokens) - token) // mark.tokens))
        if count:
            runs.append(_Run(step, token, mark.tokens, count))
        step += count
        token += count * mark.tokens
    return runs
