"""Loads a study's YAML file, or says where it is wrong: file, line, key, found, expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.recipe.problems import RecipeError, nearest, one_of
from dataflow.recipe.validating import check_mapping, validated
from dataflow.recipe.yaml_tree import Tree, parse
from mixtures.studies.recipe import LEAST_SEEDS, StudyRecipe

_REPETITION = "repetition"


@dataclass(frozen=True)
class LoadedStudy:
    """A study's recipe, and the file that later problems point into."""

    recipe: StudyRecipe
    tree: Tree
    path: Path


def load_study(path: Path) -> LoadedStudy:
    """Read a study and check what needs no corpus.

    Raises
    ------
    RecipeError
        With everything that is wrong with it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        tree = Tree(str(path))
        tree.problem((), error.strerror or "no file", "a study's YAML file")
        raise RecipeError(tree.problems) from None
    tree = parse(str(path), content)
    check_mapping(tree, StudyRecipe)
    _name_null(tree.data)
    recipe = validated(tree, StudyRecipe)
    _check(tree, recipe)
    if tree.problems:
        raise RecipeError(tree.problems)
    return LoadedStudy(recipe, tree, path)


def _name_null(data: dict[str, Any]) -> None:
    """``role: null`` names the role; YAML has it as nothing."""
    arms = data.get("arms")
    for arm in arms.values() if isinstance(arms, dict) else ():
        if isinstance(arm, dict) and "role" in arm and arm["role"] is None:
            arm["role"] = "null"


def _check(tree: Tree, study: StudyRecipe) -> None:
    """What one value says about another."""
    if study.kind == _REPETITION:
        if study.repetition is None:
            tree.problem(("repetition",), "nothing", "repetition: {epochs: […], tiers: {…}}")
        for key in ("arms", "baseline"):
            if getattr(study, key):
                tree.problem((key,), key, "none: a study of repetition makes its arms", of_key=True)
        if study.documents != "shared":
            told = "shared: fewer documents are a part of more in a study of repetition"
            tree.problem(("documents",), study.documents, told)
    else:
        _check_arms(tree, study)
    for path, seeds in _all_seeds(study):
        if len(set(seeds)) != len(seeds):
            tree.problem(path, f"seeds {list(seeds)}", "each seed once")
        elif len(seeds) < LEAST_SEEDS and not study.few_seeds:
            tree.problem(
                path, f"{len(seeds)} seeds",
                f"{LEAST_SEEDS} or more: the unit of inference is the run; or few_seeds: true, "
                "and the report says so",
            )  # fmt: skip
    held_out = study.metrics.held_out
    if held_out.sources is not None and held_out.except_sources:
        path = ("metrics", "held_out", "except_sources")
        tree.problem(path, "it beside sources", "one of the two", of_key=True)
    _check_primary(tree, study)


def _check_arms(tree: Tree, study: StudyRecipe) -> None:
    if study.repetition is not None:
        tree.problem(("repetition",), "it", "it with kind: repetition only", of_key=True)
    if not study.arms:
        tree.problem(("arms",), "nothing", "arms by their names, each with a mixture")
    if study.baseline not in study.arms:
        names = list(study.arms)
        found = "nothing" if study.baseline is None else f"no arm {study.baseline!r}"
        near = None if study.baseline is None else nearest(study.baseline, names)
        tree.problem(("baseline",), found, one_of(names) if names else "an arm", near)
    for name, arm in study.arms.items():
        if arm.mixture is None:
            tree.problem(("arms", name), "no mixture", "mixture: its content, or a file's path")
        if arm.tokens is not None and arm.tokens != study.tokens:
            tree.problem(
                ("arms", name, "tokens"), f"{arm.tokens} tokens",
                f"{study.tokens}, the study's: arms of unequal budgets do not compare",
            )  # fmt: skip


def _check_primary(tree: Tree, study: StudyRecipe) -> None:
    items = study.metrics.items
    known = ["bits_per_byte", *(["items/generated"] if items.generated else [])]
    known += [f"items/{one.name or one.format}" for one in items.benchmarks]
    for twice in sorted({name for name in known if known.count(name) > 1}):
        path = ("metrics", "items", "benchmarks")
        tree.problem(path, f"two of the name {twice}", "a `name` of each")
    if study.metrics.primary not in known:
        tree.problem(
            ("metrics", "primary"), f"{study.metrics.primary!r}", one_of(known),
            nearest(study.metrics.primary, known),
        )  # fmt: skip


def _all_seeds(study: StudyRecipe) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    yield ("seeds",), study.seeds
    for name, arm in study.arms.items():
        if arm.seeds is not None:
            yield ("arms", name, "seeds"), arm.seeds
