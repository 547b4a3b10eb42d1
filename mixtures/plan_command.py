"""``python -m mixtures plan``: what a mixture comes to, and why; or what could be met instead."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixtures.plan import Plan
    from mixtures.planning import Planned
    from mixtures.recipe import MixtureRecipe
    from mixtures.spec import PlanSpec

DONE, FAILED, WRONG_USAGE = 0, 1, 2
LENGTH = 8192
FILLED = 0.995
"""Below this fill the bound of the length histogram is told."""

Add = Callable[[str, Callable[[argparse.Namespace], int], str], Any]


def add_command(add: Add) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("plan", run_plan, "what a mixture comes to with a corpus and a budget")
    sub.add_argument(
        "mixture", metavar="MIXTURE", help="a YAML file, or a name in recipes/mixtures"
    )
    has = sub.add_mutually_exclusive_group(required=True)
    has.add_argument("--corpus", metavar="RUN", help="a corpus: folder or URI")
    has.add_argument(
        "--inventory", type=Path, metavar="FILE", help="on paper: a JSON file of amounts"
    )
    size = sub.add_mutually_exclusive_group()
    size.add_argument("--stage", help="a stage of the trainer, with its budget, length and shares")
    size.add_argument(
        "--tokens", type=_tokens,
        help="the budget, such as 20M (default: the most that the mixture can be met with)",
    )  # fmt: skip
    sub.add_argument("--model", help="that is to train by the stage: its recipe's scale and so on")
    sub.add_argument("--scale", help="of the stage, such as 1/64")
    sub.add_argument("--stage-tokens", metavar="TOKENS", help="the stage's budget instead")
    sub.add_argument("--long-qa", metavar="SHARE", help="of long questions in the stage; 0: none")
    sub.add_argument(
        "--length", type=_tokens, help=f"tokens of a sequence, with --tokens (default {LENGTH})"
    )
    sub.add_argument(
        "--l1", type=_tokens, default=128 << 10, help="that length classes are relative to"
    )
    sub.add_argument("--packing", choices=("stream", "whole"), default="stream")
    sub.add_argument("--tiling", help="of images, where documents are packed whole")
    sub.add_argument(
        "--final-tokens", type=_tokens, help="down-sample to the repetition of a run so long"
    )
    sub.add_argument("--seed", type=int, default=0, help="of the order of documents")
    sub.add_argument("--compile", type=Path, metavar="DIR", help="write the plan there")


def run_plan(options: argparse.Namespace) -> int:
    """Solve, tell, and compile where that is asked for."""
    usage = _usage(options)
    if usage is not None:
        if options.json:
            _write_json({"ok": False, "error": usage})
        else:
            sys.stderr.write(f"error: {usage}\n")
        return WRONG_USAGE
    from mixtures.recipe import load_mixture

    recipe = load_mixture(options.mixture)
    if options.final_tokens is not None:
        recipe = recipe.model_copy(update={"final_tokens": options.final_tokens})
    if options.inventory is not None:
        return _on_paper(options, recipe)
    from dataflow.run import Run
    from dataflow.store import Store
    from mixtures.planning import planned, planned_to_the_most

    has_budget = options.stage is not None or options.tokens is not None
    plan_of = planned if has_budget else planned_to_the_most
    found = plan_of(recipe, Run.load(Store(options.corpus)), _stage(options))
    plan = None
    if options.compile is not None and found.spec is not None:
        from mixtures.plan import Plan

        plan = Plan.compile(options.corpus, found.spec, out=options.compile)
    if options.json:
        _tell_json(found, plan)
    else:
        sys.stdout.write(found.told() + "\n")
        if plan is not None:
            sys.stdout.write("\n".join(_told(plan)) + "\n")
    return DONE if found.spec is not None else FAILED


def _on_paper(options: argparse.Namespace, recipe: MixtureRecipe) -> int:
    from mixtures.paper import on_paper, read_inventory
    from mixtures.plan_table import as_json, as_yaml, table

    solved, rows = on_paper(recipe, read_inventory(options.inventory, recipe), options.tokens)
    if options.json:
        _write_json({"ok": solved.feasible, "tokens": solved.budget, "components": as_json(rows)})
    else:
        lines = table(rows, solved.budget)
        if not solved.feasible:
            lines.append(f"It can be met as it is up to {solved.largest:,} tokens.")
        if solved.nearest is not None:
            lines += ["Nearest mixture that can be met:", as_yaml(recipe, solved)]
        sys.stdout.write("\n".join(lines) + "\n")
    return DONE if solved.feasible else FAILED


def _tell_json(found: Planned, plan: Plan | None) -> None:
    from mixtures.plan_table import as_json

    answer: dict[str, Any] = {
        "ok": found.spec is not None,
        "tokens": found.resolved.budget,
        "components": as_json(found.rows),
        "notes": list(found.notes),
    }
    if found.spec is None:
        nearest = found.resolved.nearest
        answer["largest_budget"] = found.resolved.largest
        answer["nearest"] = (
            None
            if nearest is None
            else dict(zip(found.recipe.components, map(str, nearest), strict=True))
        )
    else:
        answer["spec"] = found.spec.model_dump(mode="json")
        answer["categories"] = None if found.categories is None else found.categories.as_json()
    if plan is not None:
        answer["plan"] = {
            "folder": str(plan.folder), "hash": plan.hash, "fill": plan.fill,
            "sequences": len(plan), "components": plan.summary,
        }  # fmt: skip
    _write_json(answer)


def _told(plan: Plan) -> list[str]:
    lines = [f"plan {plan.hash} of {len(plan):,} sequences in {plan.folder}; fill {plan.fill:.2%}"]
    if plan.fill < FILLED:
        lines += [
            f"{one['name']}: fill {one['fill']:.2%}; no packing of these lengths fills more than "
            f"{one['best_fill']:.2%}"
            for one in plan.summary
            if "best_fill" in one
        ]
    return lines


def _write_json(answer: dict[str, Any]) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(answer).decode() + "\n")


def _stage(options: argparse.Namespace) -> PlanSpec:
    """What there is to draw without a mixture: by a stage of the trainer, or as was said."""
    from mixtures.spec import PlanSpec
    from mixtures.stage_frame import everything, stage_spec

    if options.stage is None:
        return everything(
            {
                "length": options.length or LENGTH,
                "tokens": options.tokens or options.length or LENGTH,
                "seed": options.seed,
                "l1": options.l1,
                "packing": options.packing,
                "tiling": options.tiling,
            }
        )
    asked = [options.stage, "--corpus", options.corpus]
    for name, value in _of_stage(options).items():
        asked += [name, value]
    spec = stage_spec(asked, mixed=True)
    return PlanSpec.model_validate({**spec.model_dump(), "seed": options.seed})


def _of_stage(options: argparse.Namespace) -> dict[str, str]:
    """The options of ``show-stage`` that were said."""
    asked = {
        "--model": options.model, "--scale": options.scale, "--tokens": options.stage_tokens,
        "--long-qa": options.long_qa,
    }  # fmt: skip
    return {name: value for name, value in asked.items() if value is not None}


def _usage(options: argparse.Namespace) -> str | None:
    """What is wrong with the options together."""
    if options.stage is None:
        alone = list(_of_stage(options))
        if alone:
            said = "--stage-tokens" if alone[0] == "--tokens" else alone[0]
            return f"found {said} without --stage, whose it is"
        length = options.length or LENGTH
        if length > (options.tokens or length) and options.inventory is None:
            return (
                f"found --tokens {options.tokens}, expected at least a sequence of "
                f"{length}; say a smaller --length"
            )
        if options.tiling is not None and options.packing == "stream":
            return "found --tiling with --packing stream, expected --packing whole"
    elif options.length is not None:
        return "found --length and --stage, expected one of them: a stage has its length"
    if options.inventory is not None:
        if options.tokens is None:
            return "found --inventory without --tokens, expected the budget"
        if options.compile is not None:
            return "found --compile and --inventory, expected --corpus: a plan has documents"
    return None


def _tokens(text: str) -> int:
    from mixtures.amounts import parse_tokens

    try:
        return parse_tokens(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
