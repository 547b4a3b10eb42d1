"""The recipes that come with Leyden: valid, and of installed packages that are dependencies."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dataflow.recipe import load_recipe, lock

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_lock(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description
    for source in recipe.sources:
        assert recipe.rules_of(source.name), f"{source.name} has no rules"
    locked = tmp_path / "recipe.lock.yaml"
    locked.write_text(lock(recipe, {}), encoding="utf-8")
    assert load_recipe(locked, folder=RECIPES) == recipe


def runtime_closure(name: str, found: dict[str, None]) -> None:
    canonical = re.sub(r"[-_.]+", "-", name).lower()
    if canonical in found:
        return
    found[canonical] = None
    try:
        requires = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for text in requires:
        requirement = Requirement(text)
        extras = {"extra": ""}
        if requirement.marker is None or requirement.marker.evaluate(extras):
            runtime_closure(requirement.name, found)
            if requirement.name == "fsspec":
                runtime_closure("aiohttp", found)  # of fsspec[http]


def test_quickstart_reads_only_what_leyden_installs() -> None:
    closure: dict[str, None] = {}
    runtime_closure("leyden", closure)
    recipe = load_recipe(RECIPES / "quickstart.yaml")
    named = {re.sub(r"[-_.]+", "-", d).lower() for s in recipe.sources for d in s.distributions}
    assert len(named) > 20
    assert "leyden" not in named
    assert named <= set(closure), named - set(closure)
