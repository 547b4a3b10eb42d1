"""Whether every arm's corpus gives what its mixture asks for: known before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from dataflow.recipe.problems import RecipeError
from dataflow.recipe.yaml_tree import Path
from dataflow.run import Run
from dataflow.store import Store
from mixtures.errors import PlanRefused
from mixtures.planning import planned
from mixtures.recipe import mixture_of
from mixtures.spec import PlanSpec
from mixtures.stage_frame import frame_of, show_stage
from mixtures.studies.arms import Arm
from mixtures.studies.keys import recipe_content, run_key
from mixtures.studies.loading import LoadedStudy


def check_supply(loaded: LoadedStudy, arms: Sequence[Arm]) -> None:
    """Plan every arm's mixture over its corpus, as its runs will.

    Raises
    ------
    RecipeError
        If some cannot be met: all of them, each with its table and the nearest mixture that can.
    """
    runs: dict[str, Run] = {}
    known: dict[str, tuple[str, str] | None] = {}
    for arm in arms:
        if arm.corpus.uri not in runs:
            runs[arm.corpus.uri] = Run.load(Store(arm.corpus.uri))
        # The seed orders documents and a model takes what it is given: neither is asked here.
        key = run_key([arm.corpus.uri, arm.mixture, *_shown_by(arm)])
        if key not in known:
            known[key] = _lacking(arm, runs[arm.corpus.uri])
        if (lacking := known[key]) is not None:
            found, expected = lacking
            loaded.tree.problem(_place(arm), f"{found} (arm {arm.name})", expected)
    if loaded.tree.problems:
        raise RecipeError(loaded.tree.problems)


def _lacking(arm: Arm, run: Run) -> tuple[str, str] | None:
    """What is found that cannot be met, and what can; None where all is well."""
    try:
        stage = _frame(arm)
    except PlanRefused as refused:
        return f"stage {arm.stage}", f"one that a mixture is drawn in: {refused}"
    try:
        planning = planned(mixture_of(arm.mixture, arm.name), run, stage)
    except PlanRefused as refused:
        why = str(refused)
    else:
        if planning.spec is not None:
            return None
        why = planning.told()
    return f"a mixture that {arm.corpus.uri} cannot give", f"one that it can:\n{_indented(why)}"


def _frame(arm: Arm) -> PlanSpec:
    """The plan of an arm's stage without its mixture."""
    # The file's content too: this process may outlive what a name stands for.
    return _asked(_shown_by(arm), run_key(recipe_content(arm.stage, "stages", "stage")))


@cache
def _asked(arguments: tuple[str, ...], _content: str) -> PlanSpec:
    return frame_of(show_stage(arguments))


def _shown_by(arm: Arm) -> tuple[str, ...]:
    """The arguments by which the trainer shows an arm's stage."""
    found = [arm.stage, "--tokens", str(arm.tokens)]
    for name, value in (("scale", arm.scale), ("batch", arm.batch)):
        if value is not None:
            found += [f"--{name}", str(value)]
    return tuple(found)


def _place(arm: Arm) -> Path:
    """Where the study's file says what the arm draws."""
    if arm.repetition is not None:
        return ("repetition", "tiers", str(arm.repetition["tier"]))
    return ("arms", arm.name, "mixture")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())
