"""What a mixture comes to with what there is: tokens of each component, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mixtures.inventory import Inventory
from mixtures.recipe.models import MixtureRecipe
from mixtures.recipe.shares import percent
from mixtures.solving import (
    apportioned,
    largest_budget,
    nearest_mixture,
    whole_weights,
    with_floors,
)
from mixtures.spec import Component


@dataclass(frozen=True)
class Supply:
    """What there is of a component: documents, their tokens, and those of an epoch (documents
    that ``repeat`` reads again count as often)."""

    documents: int
    tokens: int
    epoch_tokens: int


@dataclass(frozen=True)
class Row:
    """A component in the table; amounts are tokens.

    Attributes
    ----------
    share, wanted : what the mixture asks for, floors applied
    realised : what it gets; the same, unless it is spread
    limit : the most that its epochs give
    passes : how many epochs may be begun
    repetition, kept : with ``final_tokens``: how often the final run reads a document, and the
        share of documents that a run of this budget keeps to read them as often
    why : all that is not as the weights say
    """

    name: str
    documents: int
    tokens: int
    share: Fraction
    wanted: int
    realised: int
    limit: int
    passes: int
    epoch_tokens: int
    why: tuple[str, ...] = ()
    repetition: Fraction | None = None
    kept: Fraction | None = None

    @property
    def epochs(self) -> float | None:
        """How many epochs of it are read; None where it has nothing."""
        return self.realised / self.epoch_tokens if self.epoch_tokens else None


@dataclass(frozen=True)
class Resolved:
    """A mixture with numbers.

    Attributes
    ----------
    feasible : whether the corpus gives what is asked for, spread where the mixture allows it
    weights : whole numbers in the order of the components
    nearest : where it is not feasible: the nearest mixture that is, in the order of the components;
        below the floor of one that has less. None where there is none
    largest : the largest budget that the mixture can be met with as it is
    """

    rows: tuple[Row, ...]
    budget: int
    feasible: bool
    weights: tuple[int, ...]
    nearest: tuple[Fraction, ...] | None
    largest: int


def supply_of(component: Component, l1: int, inventory: Inventory) -> Supply:
    """What a corpus has of a component."""
    documents, tokens = inventory.of(component, l1)
    return Supply(documents, tokens, inventory.epoch_of(component, l1))


def shares_of(recipe: MixtureRecipe, supply: Mapping[str, Supply]) -> tuple[Fraction, ...]:
    """The share of each component before floors: its weight, or the corpus's own share ``times``
    what the mixture says, brought to the sum 1. 0 of all where ``times`` finds nothing."""
    parts = recipe.components
    if all(part.weight is not None for part in parts.values()):
        return tuple(part.weight or Fraction(0) for part in parts.values())
    raw = [(part.times or Fraction(0)) * supply[name].tokens for name, part in parts.items()]
    total = sum(raw, Fraction(0))
    return tuple(amount / total if total else Fraction(0) for amount in raw)


def resolve(
    recipe: MixtureRecipe, supply: Mapping[str, Supply], budget: int, unit: int = 1
) -> Resolved:
    """Solve a mixture.

    Parameters
    ----------
    supply : of each component, by name
    budget : tokens, a multiple of ``unit``
    unit : tokens that are drawn of one component together: a sequence, where documents are packed
        end to end
    """
    parts = recipe.components
    components = recipe.drawn()
    own = shares_of(recipe, supply)
    floors = [part.floor for part in parts.values()]
    shares = with_floors(own, floors) if any(own) else own
    limits = [supply[c.name].epoch_tokens * c.passes for c in components]
    whole = [limit // unit for limit in limits]
    wanted = apportioned(budget // unit, shares) if any(shares) else (0,) * len(shares)
    empty = [
        bool(part.weight or part.times) and not supply[name].tokens for name, part in parts.items()
    ]
    lacking = [amount > limit for amount, limit in zip(wanted, whole, strict=True)]
    starved = [
        limit < math.floor(budget // unit * floor)
        for limit, floor in zip(whole, floors, strict=True)
    ]
    nearest = nearest_mixture(budget // unit, own, whole, floors) if any(own) else None
    spreads = recipe.on_shortage == "spread" and any(lacking) and not any(starved)
    spreads = spreads and nearest is not None
    feasible = any(shares) and not any(empty) and (not any(lacking) or spreads)
    realised = nearest if spreads and nearest is not None else wanted
    weights = whole_weights(shares) if any(shares) else (0,) * len(shares)
    if spreads or recipe.final_tokens is not None:
        weights = realised  # so that it comes out to the sequence: no more is there
    rows = []
    for i, component in enumerate(components):
        has = supply[component.name]
        why = []
        if shares[i] > own[i]:
            why.append(f"raised to its floor of {percent(floors[i])}")
        elif shares[i] < own[i]:
            why.append(f"lowered from {percent(own[i])} for a floor of another")
        if not has.tokens:
            why.append("matches nothing" if empty[i] else "matches nothing, and nothing is asked")
        elif lacking[i]:
            why.append(f"capped: {limits[i]:,} tokens in {component.passes} epochs")
            if starved[i]:
                why.append("too little for its floor")
        if spreads and realised[i] > wanted[i]:
            why.append(f"{(realised[i] - wanted[i]) * unit:,} tokens spread to it from others")
        rows.append(
            Row(
                component.name, has.documents, has.tokens, shares[i], wanted[i] * unit,
                realised[i] * unit, limits[i], component.passes, has.epoch_tokens, tuple(why),
            )
        )  # fmt: skip
    return Resolved(
        tuple(rows),
        budget,
        feasible,
        weights,
        _as_shares(nearest, budget // unit) if not feasible else None,
        largest_budget(shares, whole) * unit if any(shares) else 0,
    )


def _as_shares(amounts: tuple[int, ...] | None, budget: int) -> tuple[Fraction, ...] | None:
    return None if amounts is None else tuple(Fraction(amount, budget) for amount in amounts)
