"""Planning a recipe: paths that match nothing, optional sources, and what `check` prints."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from dataflow.recipe import RecipeError, describe_plan, plan_recipe, print_plan

RECIPE = """\
name: test
sources:
  - {name: pages, paths: "pages/*.html"}
  - {name: notes, paths: [notes, extra], optional: true}
  - {name: gone, paths: [nowhere/**, notes], include: "*.txt", optional: true}
tokenizer: {train: {}}
build: {partition_bytes: 1KiB}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "pages/a.html": "<p>" + "word " * 400,
        "pages/b.html": "<p>b",
        "notes/n.md": "# n",
        "recipe.yaml": RECIPE,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_plan(folder: Path) -> None:
    recipe, plans = plan_recipe(folder / "recipe.yaml")
    assert list(plans) == ["pages", "notes", "gone"]
    files = {name: [i.uri for p in parts for i in p.items] for name, parts in plans.items()}
    assert [Path(uri).name for uri in files["pages"]] == ["a.html", "b.html"]
    assert len(plans["pages"]) > 1
    assert [Path(uri).name for uri in files["notes"]] == ["n.md"]
    assert files["gone"] == []
    assert recipe.build.partition_bytes == 1024


def test_every_path_that_matches_nothing_is_a_problem(folder: Path) -> None:
    text = RECIPE.replace("pages/*.html", "pagse/*.html").replace(", optional: true", "")
    path = folder / "recipe.yaml"
    path.write_text(text.replace("name: test", "name: test\nsead: 3"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        plan_recipe(path)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["sead", "sources[0].paths", "sources[1].paths[1]", "sources[2].paths[0]"]
    assert [problem.line for problem in caught.value.problems] == [2, 4, 5, 6]
    assert "pagse/*.html" in caught.value.problems[1].found


def test_a_source_with_another_problem_is_not_planned(folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace('"pages/*.html"', '"x/*", rules: prose'), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        plan_recipe(path)
    assert [problem.key for problem in caught.value.problems] == ["sources[0].rules"]


def test_describe_and_print(folder: Path) -> None:
    recipe, plans = plan_recipe(folder / "recipe.yaml")
    described = describe_plan(recipe, plans, workers=2)
    assert json.loads(json.dumps(described)) == described
    pages, notes, gone = described["sources"]
    assert (pages["files"], pages["absent"], gone["absent"]) == (2, False, True)
    assert pages["bytes"] == sum(p.stat().st_size for p in (folder / "pages").iterdir())
    assert 0 < pages["estimated"]["text_bytes"] < pages["bytes"]
    assert notes["estimated"]["text_bytes"] == notes["bytes"]
    assert described["total"]["files"] == 3
    assert described["total"]["bytes"] == pages["bytes"] + notes["bytes"]
    out = io.StringIO()
    print_plan(described, Console(file=out, width=120))
    assert "gone (absent)" in out.getvalue()
    assert "total" in out.getvalue()
