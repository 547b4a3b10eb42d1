"""docs/recipes.md says what the models say, and its example is a recipe."""

from __future__ import annotations

import re
from pathlib import Path

from dataflow.recipe.load import load_recipe
from dataflow.recipe.reference import BEGIN, render_reference

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_reference_is_current() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) :] == render_reference() + "\n", (
        "docs/recipes.md is stale: run `python -m dataflow.recipe.reference docs/recipes.md`"
    )


def test_the_example_is_a_recipe(tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    path = tmp_path / "small.yaml"
    path.write_text(example[1], encoding="utf-8")
    (tmp_path / "tokenizers" / "quickstart-32k").mkdir(parents=True)
    recipe = load_recipe(path)
    assert {source.name for source in recipe.sources} == {"pages", "notes"}
    assert recipe.rules_of("pages")
