"""Recipes of an arm that differ from the study's in some fields: files in the study's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.recipe.yaml_tree import dump
from mixtures.studies.keys import recipe_content


def changed(name: str, kind: str, word: str, changes: Mapping[str, Any], folder: Path) -> str:
    """The model or stage of a name or a file with other values; its file in ``folder``, or ``name``
    where nothing changes. It is called as before: models say what is usual of stages by name.

    Parameters
    ----------
    kind, word : as of `recipe_content`
    changes : values by key; of a mapping those keys alone that are named, anything else whole

    Raises
    ------
    RecipeError
        If there is no such recipe. Whether the values are right is for the trainer to say.
    """
    if not changes:
        return name
    path = folder / f"{Path(name).stem}.yaml"
    content = _merged(recipe_content(name, kind, word), changes)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(content), "utf-8")
    return str(path)


def _merged(value: Any, changes: Any) -> Any:
    if not isinstance(value, Mapping) or not isinstance(changes, Mapping):
        return changes
    return {**value, **{key: _merged(value.get(key), changes[key]) for key in changes}}
