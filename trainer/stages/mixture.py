"""Shares of the length classes and of long questions over a stage, as a function of tokens read.

The shares go in straight lines between the knots. Two knots at one token are a jump there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from trainer.stages.recipe import LENGTH_CLASSES, StageRecipe

LONG_QA = "long_qa"
"""The name of the component of long questions, beside those of the length classes."""


class Knot(NamedTuple):
    """The share of each component once ``tokens`` tokens of the stage have been read."""

    tokens: int
    shares: dict[str, float]


class MissingComponent(ValueError):
    """A corpus lacks what a stage draws from."""


def knots(stage: StageRecipe, before: Mapping[str, float] | None = None) -> list[Knot]:
    """The shares of a stage at each token where their course changes; the sum is always 1.

    Parameters
    ----------
    stage: a stage with ``shares``.
    before: shares at the end of the stage before, or of the corpus as it is after a stage that
        draws as the corpus has it; None: no transition.

    Returns
    -------
    Knots at rising tokens, the first at 0 and the last at the budget. Components are the length
    classes, and ``long_qa`` where the stage has it.

    Raises
    ------
    ValueError
        If the stage has no shares.
    """
    if stage.shares is None:
        raise ValueError(f"stage {stage.name}: found no shares, expected those of length classes")
    plain = {name: float(getattr(stage.shares, name)) for name in LENGTH_CLASSES}
    questions = stage.long_qa if stage.long_qa.share > 0 else None
    if questions is not None:
        plain[LONG_QA] = 0.0
    found = []
    transition = round(stage.tokens * stage.interpolation)
    if before is not None and transition:
        found.append(Knot(0, {name: before.get(name, 0.0) for name in plain}))
        found.append(Knot(transition, plain))
    else:
        found.append(Knot(0, plain))
    begin = stage.tokens
    late = plain
    if questions is not None:
        begin = round(stage.tokens * (1 - questions.last))
        late = {name: share * (1 - questions.share) for name, share in plain.items()}
        late[LONG_QA] = questions.share
        if found[-1].tokens < begin:
            found.append(Knot(begin, plain))
        found.append(Knot(begin, late))
    if found[-1].tokens < stage.tokens:
        found.append(Knot(stage.tokens, late))
    return found


def check_long_qa(stage: StageRecipe, sources: Collection[str], corpus: str) -> None:
    """Refuse a stage that asks for long questions of a corpus without any.

    Parameters
    ----------
    stage: the stage.
    sources: names of the sources of which the corpus has documents that may train.
    corpus: what to call it.

    Raises
    ------
    MissingComponent
        Naming the sources, and how to train without.
    """
    lacking = sorted(set(stage.long_qa.sources) - set(sources))
    if stage.long_qa.share > 0 and lacking:
        raise MissingComponent(
            f"stage {stage.name}: found no document of {', '.join(lacking)} in {corpus}, whose "
            f"sources are {', '.join(sorted(sources)) or 'none'}; expected "
            f"{stage.long_qa.share:.0%} of the last {stage.long_qa.last:.0%} of the tokens from "
            "there. Add such a source, name another in the stage's long_qa.sources, or say "
            "long_qa: 0 to train without"
        )
