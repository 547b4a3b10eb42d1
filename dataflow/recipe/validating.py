"""YAML files of other rooms, such as models, stages, mixtures and studies, held against pydantic
models: everything that is wrong is told at its place in the file.

Their validators say "found X, expected Y"; what pydantic says by itself becomes that too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dataflow.recipe.problems import RecipeError, nearest, one_of, shown
from dataflow.recipe.schema import known_part, valid_keys
from dataflow.recipe.yaml_tree import Tree

_M = TypeVar("_M", bound=BaseModel)


def check_mapping(tree: Tree, model: type[BaseModel]) -> None:
    """Refuse a file that was not read, or that is no mapping.

    Raises
    ------
    RecipeError
        With what is wrong.
    """
    if not tree.problems and not isinstance(tree.data, dict):
        found = "an empty file" if tree.data is None else shown(tree.data)
        tree.problem((), found, f"a mapping with {one_of(sorted(model.model_fields))}")
    if tree.problems:
        raise RecipeError(tree.problems)


def validated(tree: Tree, model: type[_M], changes: Mapping[str, Any] | None = None) -> _M:
    """The model that a file holds.

    Parameters
    ----------
    tree : the file; or values that stand in none, which have no positions
    changes : values in the place of the file's

    Raises
    ------
    RecipeError
        With everything that is wrong.
    """
    check_mapping(tree, model)
    try:
        return model.model_validate({**tree.data, **(changes or {})})
    except ValidationError as error:
        _note(tree, model, error)
        raise RecipeError(tree.problems) from None


def _note(tree: Tree, model: type[BaseModel], error: ValidationError) -> None:
    """Add a problem for each thing that pydantic lists."""
    items = error.errors(include_url=False)
    for item in items:
        location, kind = item["loc"], item["type"]
        path = known_part(tree, location)[0] if tree.values else location
        if kind == "missing":
            tree.problem(path, "nothing", f"a value for {location[-1]!r}")
        elif kind == "extra_forbidden":
            valid, name = sorted(valid_keys(path[:-1], model)), str(path[-1])
            tree.problem(
                path, f"unknown key {name!r}", one_of(valid), nearest(name, valid), of_key=True
            )
        elif kind == "value_error":
            found, _, expected = str(item["ctx"]["error"]).partition(", expected ")
            tree.problem(path, found.removeprefix("found "), expected)
        elif kind == "too_short":
            # A list of something wrong counts as empty too: its own problem says enough.
            inner = (other["loc"] for other in items)
            if not any(len(at) > len(location) and at[: len(location)] == location for at in inner):
                tree.problem(path, shown(item["input"]), f"at least {item['ctx']['min_length']}")
        else:
            tree.problem(path, shown(item["input"]), item["msg"].removeprefix("Input should be "))
