"""``python -m vl_data budget``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from vl_data.budget.errors import BudgetRefused
from vl_data.budget.stages import STAGES, TIERS, TOKENS, Draw, Stage


def add_command(add: Callable[..., Any]) -> None:
    """Add the command to a parser."""
    sub = add("budget", _budget, "plan tokens over the vision-language stages against a run")
    sub.set_defaults(tell=_tell)
    sub.add_argument("folder", metavar="RUN", help="a built run with images")
    sub.add_argument(
        "--tokens", default=str(TOKENS), metavar="N", help="of all stages together; default: 512B"
    )
    sub.add_argument(
        "--split",
        default=":".join(f"{float(stage.share):g}" for stage in STAGES),
        metavar="A:B:C",
        help="parts of the stages, scaled to the tokens; default: %(default)s, as published",
    )
    stages = ", ".join(stage.name for stage in STAGES)
    for option, metavar, text in (
        ("--tiling", "[STAGE=]NAME", f"how images are tiled, in one stage ({stages}) or all"),
        (
            "--length",
            "[STAGE=]N",
            "tokens of a sequence; longer documents with images stay out",
        ),
        ("--epochs", "[STAGE|TIER=]N", "how often a document may be read at most"),
        ("--sources", "DRAW=SOURCE,…", "which sources a draw draws from, if not that of its name"),
    ):
        sub.add_argument(option, action="append", default=[], metavar=metavar, help=text)


def _budget(options: argparse.Namespace) -> dict[str, Any]:
    from vl_data.budget.plan import plan_budget, view_of
    from vl_data.budget.supply import count_supply
    from vl_data.budget.table import as_json, tell
    from vl_data.runs.folder import RunFolder

    tokens = _tokens("--tokens", options.tokens)
    split = _split(options.split)
    stages, tiers = _stages(options)
    run = RunFolder.load(options.folder)
    supply = count_supply(run, [view_of(stage) for stage in stages])
    budget = plan_budget(tokens, split, stages, tiers, supply)
    return {"run": run.uri, **as_json(budget), "text": tell(budget, run.uri)}


def _tell(answer: Mapping[str, Any]) -> str:
    return str(answer["text"])


def _stages(options: argparse.Namespace) -> tuple[list[Stage], dict[str, int]]:
    """The stages and caps of tiers, with what the options change about them."""
    from vl_data.tiling import tiling_of

    stages, tiers = list(STAGES), dict(TIERS)
    names = [stage.name for stage in stages]
    for name, value in _named("--tiling", options.tiling, names):
        try:
            tiling_of(value)
        except ValueError as error:
            raise BudgetRefused(f"--{error}") from None
        stages = [replace(s, tiling=value) if name in (None, s.name) else s for s in stages]
    for name, value in _named("--length", options.length, names):
        length = _tokens("--length", value)
        stages = [replace(s, length=length) if name in (None, s.name) else s for s in stages]
    for name, value in _named("--epochs", options.epochs, [*names, *tiers]):
        if not value.isdecimal() or not int(value):
            raise BudgetRefused(f"--epochs: found {value!r}, expected a whole number from 1 on")
        epochs = int(value)
        if name in tiers:
            tiers[str(name)] = epochs
        elif name is None:
            tiers = dict.fromkeys(tiers, epochs)
        stages = [replace(s, epochs=epochs) if name in (None, s.name) else s for s in stages]
    draws = sorted(draw.name for stage in stages for draw in stage.draws)
    for name, value in _named("--sources", options.sources, draws):
        if name is None:
            raise BudgetRefused(f"--sources: found {value!r}, expected DRAW=SOURCE,…")
        named = tuple(source for source in value.split(",") if source)
        stages = [
            replace(s, draws=tuple(_drawing(draw, name, named) for draw in s.draws)) for s in stages
        ]
    return stages, tiers


def _drawing(draw: Draw, name: str, sources: tuple[str, ...]) -> Draw:
    if draw.name == name:
        return replace(draw, sources=sources, except_sources=())
    # What a draw is given by name is not drawn as "all else" too.
    return replace(draw, except_sources=draw.except_sources + sources) if not draw.sources else draw


def _named(
    option: str, values: Sequence[str], known: Sequence[str]
) -> list[tuple[str | None, str]]:
    """``NAME=VALUE`` apart; None where no name is given."""
    found: list[tuple[str | None, str]] = []
    for value in values:
        name, equals, rest = value.rpartition("=")
        if equals and name not in known:
            raise BudgetRefused(f"{option}: found {name!r}, expected one of {', '.join(known)}")
        found.append((name if equals else None, rest))
    return found


def _tokens(option: str, text: str) -> int:
    from vl_data.budget.amounts import tokens_of

    try:
        return tokens_of(text)
    except ValueError as error:
        raise BudgetRefused(f"{option}: {error}") from None


def _split(text: str) -> list[Fraction]:
    try:
        parts = [Fraction(part) for part in text.split(":")]
    except (ValueError, ZeroDivisionError):
        parts = []
    if len(parts) != len(STAGES) or min(parts) < 0 or not sum(parts):
        names = ", ".join(stage.name for stage in STAGES)
        raise BudgetRefused(
            f"--split: found {text!r}, expected {len(STAGES)} parts for {names}, such as "
            "80:420:44.8"
        )
    return parts
