"""Loads a mixture's YAML file, or says where it is wrong: file, line, key, found, expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dataflow.recipe.problems import Problem, RecipeError, nearest, one_of, shown
from dataflow.recipe.schema import known_part, valid_keys
from dataflow.recipe.yaml_tree import Tree, parse
from mixtures.recipe.models import MixtureRecipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "mixtures"
"""Where the mixtures that come with the project lie."""


def load_mixture(name_or_path: str | Path) -> MixtureRecipe:
    """The mixture of a YAML file, or of a name in ``recipes/mixtures``.

    Raises
    ------
    RecipeError
        With everything that is wrong with it, or the nearest name if there is none of this name.
    OSError
        If the file cannot be read.
    """
    path = _find(name_or_path)
    tree = parse(str(path), path.read_bytes())
    recipe = _checked(tree)
    if recipe.name is not None and recipe.name != path.stem:
        tree.problem(("name",), shown(recipe.name), f"{path.stem!r}, as the file is called")
        raise RecipeError(tree.problems)
    return recipe


def mixture_of(data: Any, where: str = "mixture") -> MixtureRecipe:
    """The mixture of plain values, such as those of a study's arm; ``where`` is what errors call
    it.

    Raises
    ------
    RecipeError
        With everything that is wrong with it.
    """
    tree = Tree(where, data)
    return _checked(tree)


def _find(name_or_path: str | Path) -> Path:
    text, path = str(name_or_path), Path(name_or_path)
    known = sorted(found.stem for found in RECIPES.glob("*.yaml"))
    if text in known:
        return RECIPES / f"{text}.yaml"
    if path.is_file():
        return path
    is_path = "/" in text or path.suffix in (".yaml", ".yml", ".json")
    found = "no such mixture file" if is_path else f"no mixture {text!r}"
    expected = f"{one_of(known)}, or the path of a YAML file"
    raise RecipeError([Problem(text, 0, 0, "", found, expected, nearest(path.stem, known))])


def _checked(tree: Tree) -> MixtureRecipe:
    if not tree.problems and not isinstance(tree.data, dict):
        found = "an empty file" if tree.data is None else shown(tree.data)
        tree.problem((), found, f"a mapping with {one_of(sorted(MixtureRecipe.model_fields))}")
    if tree.problems:
        raise RecipeError(tree.problems)
    try:
        return MixtureRecipe.model_validate(tree.data)
    except ValidationError as error:
        _note(tree, error)
        raise RecipeError(tree.problems) from None


def _note(tree: Tree, error: ValidationError) -> None:
    """A problem for each thing that pydantic lists."""
    for item in error.errors(include_url=False):
        location = item["loc"]
        # Values that stand in no file have no positions, and their keys are told all the same.
        path = known_part(tree, location)[0] if tree.values else location
        if item["type"] == "missing":
            tree.problem(path, "nothing", f"a value for {location[-1]!r}")
        elif item["type"] == "extra_forbidden":
            valid, name = sorted(valid_keys(path[:-1], MixtureRecipe)), str(path[-1])
            tree.problem(
                path, f"unknown key {name!r}", one_of(valid), nearest(name, valid), of_key=True
            )
        elif item["type"] == "value_error":
            found, _, expected = str(item["ctx"]["error"]).partition(", expected ")
            tree.problem(path, found.removeprefix("found "), expected)
        else:
            tree.problem(path, shown(item["input"]), item["msg"].removeprefix("Input should be "))
