"""Plans on paper: components whose amounts are numbers in a file, and no corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from mixtures.amounts import parse_tokens
from mixtures.downsampling import kept
from mixtures.errors import PlanRefused
from mixtures.recipe.models import MixtureRecipe
from mixtures.resolving import Resolved, Row, Supply, resolve

_EXPECTED = (
    'expected {"components": {NAME: {"documents": N, "tokens": N}, …}}, and "epoch_tokens" where a '
    "component repeats"
)


def read_inventory(path: Path, recipe: MixtureRecipe) -> dict[str, Supply]:
    """What there is of each component.

    Raises
    ------
    PlanRefused
        If the file is no such inventory, or lacks a component of the mixture.
    """
    try:
        data: Any = orjson.loads(path.read_bytes())
    except OSError as error:
        raise PlanRefused(f"{path}: {error.strerror}, {_EXPECTED}") from None
    except orjson.JSONDecodeError as error:
        raise PlanRefused(f"{path}: found no JSON ({error}), {_EXPECTED}") from None
    parts = data.get("components") if isinstance(data, dict) else None
    if not isinstance(parts, dict):
        raise PlanRefused(f"{path}: found no components, {_EXPECTED}")
    found = {}
    for name in recipe.components:
        part = parts.get(name)
        if not isinstance(part, dict) or "tokens" not in part:
            raise PlanRefused(f"{path}: found no tokens of component {name!r}, {_EXPECTED}")
        try:
            tokens = _amount(part["tokens"])
            documents = _amount(part.get("documents", 0))
            epoch = _amount(part.get("epoch_tokens", tokens))
        except ValueError as error:
            raise PlanRefused(f"{path}: component {name!r}: {error}") from None
        found[name] = Supply(documents, tokens, epoch)
    return found


def on_paper(
    recipe: MixtureRecipe, supply: dict[str, Supply], budget: int
) -> tuple[Resolved, tuple[Row, ...]]:
    """The solution and the rows of the table; with ``final_tokens`` they say what would be kept.

    Raises
    ------
    PlanRefused
        If ``final_tokens`` is less than the budget.
    """
    solved = resolve(recipe, supply, budget)
    if recipe.final_tokens is None or not solved.feasible:
        return solved, solved.rows
    try:
        asked = [
            kept(row.realised, row.epoch_tokens, budget, recipe.final_tokens, row.passes)
            for row in solved.rows
        ]
    except ValueError as error:
        raise PlanRefused(f"final_tokens: {error}") from None
    return solved, tuple(
        replace(row, repetition=one.repetition, kept=one.share)
        for row, one in zip(solved.rows, asked, strict=True)
    )


def _amount(value: Any) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else parse_tokens(value)
