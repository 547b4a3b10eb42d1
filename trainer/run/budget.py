"""The budget of a stage that reads no more than a number of epochs of what it draws."""

from __future__ import annotations

from dataflow.run import Run
from mixtures.inventory import take_inventory
from trainer.run.draws import plan_spec
from trainer.run.request import RunRefused
from trainer.stages import schedule
from trainer.stages.recipe import StageRecipe
from trainer.stages.scaling import scaled


def within_epochs(stage: StageRecipe, run: Run, corpus: str) -> StageRecipe:
    """The stage, its budget made smaller where the corpus has less than ``most_epochs`` of it.

    What is drawn is counted as its plan counts it: with the features of images, without what is
    longer than a sequence. Marks of the schedule keep their places in the stage, as in ``scaled``.

    Raises
    ------
    RunRefused
        If the corpus has not one sequence to give.
    """
    if stage.most_epochs is None:
        return stage
    inventory = take_inventory(run, stage.class_length)
    spec = plan_spec(stage, inventory, sequences=1, seed=0)
    counted = take_inventory(run, spec.l1, spec)
    total = sum(spec.weights)
    # Of components in fixed shares, the one that is used up first.
    whole = min(
        counted.of(component, spec.l1)[1] * total // component.weight
        for component in spec.components
        if component.weight
    )
    most = int(whole * stage.most_epochs)
    tokens = min(most, stage.tokens)
    while tokens >= stage.length:
        found = stage if tokens == stage.tokens else scaled(stage, tokens=tokens)
        over = schedule.total_tokens(found) - most  # the last batch is read whole
        if over <= 0:
            return found
        tokens -= over
    named = ", ".join(
        f"{component.name} {counted.of(component, spec.l1)[1]:,}" for component in spec.components
    )
    raise RunRefused(
        f"{corpus}: stage {stage.name} reads {stage.most_epochs:g} epochs of what it draws at "
        f"most; found tokens {named}, expected enough for a sequence of {stage.length:,}; build "
        "the corpus with more of these sources, or scale the stage down"
    )
