"""A stage as a model is trained by it: what a run says, else what the model's recipe does."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

from trainer.models.recipe import ModelRecipe
from trainer.stages.loading import load_stage
from trainer.stages.recipe import StageRecipe


def stage_of(
    model: ModelRecipe,
    name: str,
    *,
    scale: Fraction | None = None,
    variant: str | None = None,
    tokens: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    long_qa: float | None = None,
) -> StageRecipe:
    """The stage of a name or a file for a model; options as of ``load_stage``, None: the model's.

    Raises
    ------
    RecipeError
        As ``load_stage``.
    """
    usual = model.stages
    load = partial(
        load_stage,
        name,
        usual.scale if scale is None else scale,
        variant=variant,
        tokens=tokens or usual.tokens_of.get(Path(name).stem, usual.tokens),
        batch=batch or usual.batch_of.get(Path(name).stem, usual.batch),
        long_qa=usual.long_qa if long_qa is None else long_qa,
    )
    stage = load()
    times = usual.rates_of.get(stage.name, usual.rates)
    stage = load(rate=rate or times * stage.schedule.phases[0].rate)
    if stage.tiling in usual.tilings:
        stage = stage.model_copy(update={"tiling": usual.tilings[stage.tiling]})
    return stage
