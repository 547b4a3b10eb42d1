"""Loads a mixture's YAML file, or says where it is wrong: file, line, key, found, expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflow.recipe.problems import Problem, RecipeError, nearest, one_of, shown
from dataflow.recipe.validating import validated
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
    recipe = validated(tree, MixtureRecipe)
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
    return validated(tree, MixtureRecipe)


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
