"""What a stage draws from a corpus, as the plan is asked for it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, get_args

from mixtures.inventory import Inventory
from mixtures.lengths import LengthClass
from mixtures.spec import Component, LateMixture, PlanSpec, Transition
from trainer.stages.mixture import LONG_QA, knots
from trainer.stages.recipe import StageRecipe

WHOLE = 1_000_000
"""Shares become integer weights of this sum: a millionth is their finest step."""
EVERYTHING = "all"


def plan_spec(
    stage: StageRecipe,
    inventory: Inventory,
    *,
    sequences: int,
    seed: int,
    before: StageRecipe | None = None,
    epochs: int = 4,
    leave_out: Collection[str] = (),
) -> PlanSpec:
    """The stage's components with integer weights, its transition and its end.

    Args:
        stage: scaled as it is to be run.
        inventory: of the corpus, taken with ``stage.class_length``.
        sequences: that all steps of the stage read; the last step may pass the budget.
        seed: of the order of documents.
        before: the stage whose mixture this one's goes over from.
        epochs: how often a document may be read at most.
        leave_out: sources that are not drawn from, where the stage does not name its sources.
    """
    common: dict[str, Any] = {
        "length": stage.length,
        "tokens": sequences * stage.length,
        "seed": seed,
        "l1": stage.class_length,
        "packing": stage.packing,
        "tiling": stage.tiling,
    }
    if stage.draws is not None:
        if stage.most_epochs is not None:
            epochs = min(epochs, math.ceil(stage.most_epochs))
        if stage.objective is not None:
            common["longer"] = "leave_out"
        named = tuple(
            Component(
                name=name, sources=draw.sources, except_sources=draw.except_sources,
                weight=draw.weight, epochs=epochs,
            )
            for name, draw in stage.draws.items()
        )  # fmt: skip
        return PlanSpec.model_validate({**common, "components": named})
    if stage.shares is None:
        kept = tuple(s for s in inventory.sources if s not in leave_out) if leave_out else None
        whole = Component(name=EVERYTHING, sources=kept, weight=1, epochs=epochs)
        return PlanSpec.model_validate({**common, "components": (whole,)})
    asked = set(stage.long_qa.sources) if stage.long_qa.share > 0 else set()
    asked_or_out = asked | set(leave_out)
    others = tuple(source for source in inventory.sources if source not in asked_or_out)
    classes: tuple[LengthClass, ...] = get_args(LengthClass)
    line = knots(stage, None if before is None else _shares_after(before, inventory, stage))
    settled = next(knot for knot in line if knot.tokens >= _transition(stage, before))
    weights = whole_weights(settled.shares)
    components = [
        Component(
            name=name, length=name, weight=weights[name], epochs=epochs,
            sources=others if asked_or_out else None,
        )
        for name in classes
    ]  # fmt: skip
    late = None
    if asked:
        components.append(
            Component(name=LONG_QA, weight=0, sources=tuple(sorted(asked)), epochs=epochs)
        )
        start = max(k.tokens for k in line[:-1])
        late = LateMixture(start=start, weights=whole_weights(line[-1].shares))
    transition = None
    if _transition(stage, before):
        transition = Transition(
            tokens=_transition(stage, before), previous=whole_weights(line[0].shares)
        )
    return PlanSpec.model_validate(
        {**common, "components": components, "transition": transition, "late": late}
    )


def _transition(stage: StageRecipe, before: StageRecipe | None) -> int:
    """Tokens over which the mixture goes from the stage before to this one's."""
    return 0 if before is None else round(stage.tokens * stage.interpolation)


def _shares_after(
    before: StageRecipe, inventory: Inventory, stage: StageRecipe
) -> Mapping[str, float]:
    """The share of each length class at the end of a stage; of the corpus where it names none."""
    if before.shares is not None:
        return before.shares.model_dump()
    tokens = {
        name: inventory.of(
            Component(name=name, length=name, sources=None, weight=1, epochs=1), stage.class_length
        )[1]
        for name in get_args(LengthClass)
    }
    return {name: found / max(sum(tokens.values()), 1) for name, found in tokens.items()}


def whole_weights(shares: Mapping[str, float]) -> dict[str, int]:
    """Shares as integer weights."""
    return {name: round(share * WHOLE) for name, share in shares.items()}
