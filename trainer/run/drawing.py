"""What a stage of a model draws from a corpus, before a mixture says of which documents."""

from __future__ import annotations

from dataflow.run import Run
from mixtures.inventory import take_inventory
from mixtures.spec import PlanSpec
from trainer.models.recipe import ModelRecipe
from trainer.preference.sources import paired_sources
from trainer.run.draws import plan_spec
from trainer.run.images import pictured_sources
from trainer.stages import schedule
from trainer.stages.mixture import check_long_qa
from trainer.stages.recipe import StageRecipe


def draws_of(
    stage: StageRecipe,
    model: ModelRecipe | None,
    run: Run,
    *,
    seed: int = 0,
    epochs: int = 4,
    before: StageRecipe | None = None,
) -> PlanSpec:
    """The plan that a stage has without a mixture.

    Args:
        stage: scaled as it is to be run.
        model: that it trains; None: one without a tower.
        seed: of the order of documents.
        epochs: how often a document may be read at most.
        before: the stage whose mixture this one's goes over from.

    Raises:
        MissingComponent: the stage asks for long questions, and the corpus has none.
    """
    inventory = take_inventory(run, stage.class_length)
    check_long_qa(stage, inventory.sources, run.store.uri)
    return plan_spec(
        stage,
        inventory,
        sequences=schedule.total_tokens(stage) // stage.length,
        seed=seed,
        before=before,
        epochs=epochs,
        leave_out=_left_out(stage, model, run),
    )


def _left_out(stage: StageRecipe, model: ModelRecipe | None, run: Run) -> frozenset[str]:
    """Sources that a stage does not draw from where it names none: pairs, whose rejected answers
    it would learn; and where its model has a tower, those with images, for whose features a stage
    of text has no places."""
    found = paired_sources(run)
    if model is not None and model.vision is not None and stage.tiling is None:
        found |= pictured_sources(run)
    return found
