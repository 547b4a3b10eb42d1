"""Whether every arm's corpus gives its mixture: asked before anything is made or trained."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from dataflow.recipe.problems import RecipeError
from dataflow.recipe.yaml_tree import Path as Place
from mixtures.errors import PlanRefused
from mixtures.plan import Plan
from mixtures.recipe import mixture_of
from mixtures.spec import PlanSpec
from mixtures.stage_frame import show_stage
from mixtures.studies.arms import Arm
from mixtures.studies.loading import LoadedStudy


class _ArmRefused(Exception):
    """An arm that its trainings would refuse: what was found, and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found, self.expected = found, expected


def check_supply(loaded: LoadedStudy, arms: Sequence[Arm], folder: Path) -> None:
    """Compile the plan of every arm as its trainings will, and keep none.

    The trainer says what a stage draws, and is asked once for arms that differ in their mixture
    alone.

    Parameters
    ----------
    arms : of the study, those that have runs to be trained
    folder : of the study; plans are compiled there, and deleted

    Raises
    ------
    RecipeError
        With all arms that are refused, where they stand in the study's file, and the nearest
        mixture of each.
    """
    stages: dict[tuple[str, ...], PlanSpec | _ArmRefused] = {}
    for arm in arms:
        if arm.same_as is not None:
            continue
        asked = _arguments(arm)
        if asked not in stages:
            try:
                stages[asked] = _stage(asked, arm)
            except _ArmRefused as refused:
                stages[asked] = refused
        stage = stages[asked]
        try:
            if isinstance(stage, _ArmRefused):
                raise stage
            _compile(arm, stage, folder)
        except _ArmRefused as refused:
            loaded.tree.problem(_place(arm), refused.found, refused.expected)
    if loaded.tree.problems:
        raise RecipeError(loaded.tree.problems)


def _arguments(arm: Arm) -> tuple[str, ...]:
    """Of ``python -m trainer show-stage``."""
    given = {
        "model": arm.model, "corpus": arm.corpus.uri, "tokens": arm.tokens, "batch": arm.batch,
        "scale": arm.scale,
    }  # fmt: skip
    found = [arm.stage]
    for name, value in given.items():
        if value is not None:
            found += [f"--{name}", str(value)]
    return tuple(found)


def _stage(asked: tuple[str, ...], arm: Arm) -> PlanSpec:
    try:
        shown = show_stage(asked)
    except PlanRefused as refused:
        raise _ArmRefused(
            f"stage {arm.stage} with model {arm.model}, which do not train on {arm.corpus.uri}",
            f"ones that do:\n{refused}",
        ) from None
    if shown["after"] is not None:
        raise _ArmRefused(
            f"stage {shown['name']}, which starts from the weights of {shown['after']}",
            "a stage that starts from initial weights: a study's runs have none before them",
        )
    if shown["draws"]:
        raise _ArmRefused(
            f"stage {shown['name']}, which names what it draws",
            "a stage without `draws`: an arm draws by its mixture",
        )
    return PlanSpec.model_validate(shown["spec"])


def _compile(arm: Arm, stage: PlanSpec, folder: Path) -> None:
    # What is cut at sequence ends is as much for every seed of the same documents; how whole
    # documents pack, is not.
    alike = stage.packing != "whole" and arm.slices is None
    seeds = arm.seeds[:1] if alike else arm.seeds
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".supply-", dir=folder) as scratch:
        for seed in seeds:
            content = {**arm.mixture_of(seed), "name": arm.mixture_name(seed)}
            mixture = mixture_of(content, f"arms.{arm.name}.mixture")
            try:
                Plan.compile(arm.corpus.uri, stage, mixture, seed, out=Path(scratch))
            except PlanRefused as refused:
                raise _ArmRefused(
                    f"a mixture that {arm.corpus.uri} does not give",
                    f"one that it gives {arm.tokens:,} tokens of:\n{refused}",
                ) from None


def _place(arm: Arm) -> Place:
    """Where an arm stands in the study's file."""
    if arm.repetition is not None:
        return "repetition", "tiers", arm.repetition["tier"]
    return "arms", arm.name, "mixture"
