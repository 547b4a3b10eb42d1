"""Tokens over the stages, against what a run holds of them: wanted, drawn, missing.

A draw's documents are read epoch after epoch until its tokens are reached or all its documents have
been read as often as they may be. What is missing then is said in tokens, and in documents and
images that are like the run's: new ones, each read as often as the run's may be on average. Caps
hold in each stage by itself, as they do in its plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from vl_data.budget.stages import PAIRS, Draw, PairStage, Stage, shares_of
from vl_data.budget.supply import Held, Supply, View


@dataclass(frozen=True, slots=True)
class SourceBudget:
    """What a draw has of one source and tier; ``cap``: how often its documents may be read."""

    source: str
    tier: str
    held: Held
    cap: int


@dataclass(frozen=True, slots=True)
class DrawBudget:
    """A draw of a stage.

    Attributes
    ----------
    wanted, drawn, missing_tokens: tokens as read; ``drawn + missing_tokens == wanted``.
    held: its documents, each once.
    epochs: that ``wanted`` would take; None without documents.
    cap: epochs that its documents may be read, on average over their tokens; None without any.
    missing_documents, missing_images: new ones at the run's mean; None where the run has none that
        would tell.
    """

    name: str
    wanted: int
    drawn: int
    held: Held
    epochs: float | None
    cap: float | None
    missing_documents: int | None
    missing_images: int | None
    sources: tuple[SourceBudget, ...]

    @property
    def missing_tokens(self) -> int:
        """Tokens that the run cannot give."""
        return self.wanted - self.drawn


@dataclass(frozen=True, slots=True)
class StageBudget:
    """A stage, its tokens, and what its draws have of them."""

    name: str
    tokens: int
    view: View
    draws: tuple[DrawBudget, ...]


@dataclass(frozen=True, slots=True)
class PairsBudget:
    """A stage of pairs: wanted with images, and what there is with images and of text alone."""

    name: str
    wanted: int
    held: int
    of_text: int

    @property
    def missing(self) -> int:
        """Pairs with images that the run lacks."""
        return max(0, self.wanted - self.held)


@dataclass(frozen=True, slots=True)
class Budget:
    """All stages; ``unused`` are sources that none draws from."""

    tokens: int
    split: tuple[Fraction, ...]
    stages: tuple[StageBudget, ...]
    pairs: PairsBudget
    unused: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether nothing is missing."""
        draws = [draw for stage in self.stages for draw in stage.draws]
        return not (self.pairs.missing or any(draw.missing_tokens for draw in draws))


def view_of(stage: Stage) -> View:
    """How a stage reads documents."""
    return View(stage.tiling, stage.length)


def plan_budget(
    tokens: int,
    split: Sequence[Fraction],
    stages: Sequence[Stage],
    tiers: Mapping[str, int],
    supply: Supply,
    pairs: PairStage = PAIRS,
) -> Budget:
    """Divide ``tokens`` over the stages in the ratio of ``split``, and hold it against the supply.

    Parameters
    ----------
    split: a part a stage; they need not add up to the tokens.
    tiers: how often a document of a tier may be read, where that is less than its stage allows.
    supply: of the view of each stage.
    """
    planned = []
    for stage, given in zip(stages, shares_of(tokens, split), strict=True):
        wanted = shares_of(given, [draw.weight for draw in stage.draws])
        view = view_of(stage)
        draws = tuple(
            _draw(draw, share, stage, tiers, supply[view])
            for draw, share in zip(stage.draws, wanted, strict=True)
        )
        planned.append(StageBudget(stage.name, given, view, draws))
    held = _all(supply)
    preferred = sum((h for s, h in held.items() if pairs.draw.draws_from(s)), Held())
    drawn = [draw for stage in stages for draw in stage.draws] + [pairs.draw]
    return Budget(
        tokens,
        tuple(split),
        tuple(planned),
        PairsBudget(
            pairs.name, pairs.pairs, preferred.pictured, preferred.documents - preferred.pictured
        ),
        tuple(sorted(s for s in held if not any(draw.draws_from(s) for draw in drawn))),
    )


def _all(supply: Supply) -> dict[str, Held]:
    """Documents of each source, as the last stage reads them."""
    found: dict[str, Held] = {}
    for (source, _), held in list(supply.values())[-1].items():
        found[source] = found.get(source, Held()) + held
    return found


def _draw(
    draw: Draw,
    wanted: int,
    stage: Stage,
    tiers: Mapping[str, int],
    held: Mapping[tuple[str, str], Held],
) -> DrawBudget:
    sources = tuple(
        SourceBudget(source, tier, mine, min(stage.epochs, tiers.get(tier, stage.epochs)))
        for (source, tier), mine in sorted(held.items())
        if draw.draws_from(source)
    )
    total = sum((one.held for one in sources), Held())
    most = sum(one.held.tokens * one.cap for one in sources)
    drawn = min(wanted, most)
    documents = images = cap = epochs = None
    if total.tokens:
        cap, epochs = most / total.tokens, wanted / total.tokens
        more = Fraction(wanted - drawn, most)  # of all documents that there are
        documents, images = (math.ceil(more * n) for n in (total.documents, total.images))
    elif drawn == wanted:
        documents = images = 0
    return DrawBudget(draw.name, wanted, drawn, total, epochs, cap, documents, images, sources)
