"""``trainer show-stage``: a stage as it is to be run, scaled, for those who plan its data."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import orjson

from mixtures.amounts import format_tokens, parse_scale, parse_tokens

if TYPE_CHECKING:
    from trainer.stages.recipe import StageRecipe


def add_commands(add: Callable[[str, Callable[[argparse.Namespace], int], str], Any]) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("show-stage", run_show_stage, "a stage's budget, length and packing, scaled")
    sub.add_argument("stage", help="a name in recipes/stages, or a file")
    sub.add_argument("--scale", type=_as(parse_scale), help="such as 1/64")
    sub.add_argument("--tokens", type=_as(parse_tokens), help="the budget, such as 2M")
    sub.add_argument("--batch", type=_as(parse_tokens), help="tokens of the first global batch")
    sub.add_argument("--variant", help="another curriculum that the stage names, such as smooth")
    sub.add_argument("--long-qa", type=_as(_share), metavar="SHARE", help="0: none")
    sub.add_argument("--model", help="as this model is trained by it: its recipe's scale and so on")
    sub.add_argument("--corpus", metavar="RUN", help="what it draws from there too")


def run_show_stage(options: argparse.Namespace) -> int:
    """Print it."""
    from dataflow.run import Run
    from dataflow.store import Store
    from trainer.run.drawing import draws_of
    from trainer.stages.loading import load_model, load_stage
    from trainer.stages.usual import stage_of

    names = ("scale", "variant", "tokens", "batch", "long_qa")
    given = {name: getattr(options, name) for name in names}
    model = None if options.model is None else load_model(options.model)
    if model is None:
        stage = load_stage(options.stage, **given)
    else:
        stage = stage_of(model, options.stage, **given)
    shown = as_shown(stage)
    if options.corpus is not None:
        before = _before(stage, options.scale if model is None else stage.scale)
        spec = draws_of(stage, model, Run.load(Store(options.corpus)), before=before)
        shown["spec"] = spec.model_dump(mode="json")
    if options.json:
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
    else:
        sys.stdout.write(
            f"{stage.name}: {shown['sequences']:,} sequences of {stage.length:,} tokens "
            f"({format_tokens(stage.tokens)}), packed {stage.packing}\n"
        )
    return 0


def as_shown(stage: StageRecipe) -> dict[str, Any]:
    """What planners need to know of a stage, as plain values; ``after`` is the stage that it starts
    from, ``draws`` whether it says itself what it draws."""
    from trainer.stages import schedule

    return {
        "ok": True,
        "name": stage.name,
        "length": stage.length,
        "tokens": stage.tokens,
        "sequences": schedule.total_tokens(stage) // stage.length,
        "class_length": stage.class_length,
        "packing": stage.packing,
        "tiling": stage.tiling,
        "scale": str(stage.scale),
        "draws": stage.draws is not None,
        "after": stage.after,
    }


def _before(stage: StageRecipe, scale: Fraction | None) -> StageRecipe | None:
    from dataflow.recipe import RecipeError
    from trainer.stages.loading import load_stage

    if stage.after is None or stage.shares is None:
        return None
    try:
        return load_stage(stage.after, scale)
    except RecipeError:  # a stage of one's own may stand beside its file: not known by its name
        return None


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"found {text!r}, expected a share from 0 to 1")
    return value


def _as(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser whose ValueError argparse shows."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed
