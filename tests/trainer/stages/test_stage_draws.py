"""Which sources a stage draws from: those that it names, or all but some."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.recipe import RecipeError
from dataflow.run import Run
from dataflow.store import Store
from mixtures.inventory import take_inventory
from tests.mixtures.made_runs import Made, make_run
from trainer.run.draws import plan_spec
from trainer.stages.loading import load_stage
from trainer.stages.recipe import Draw, StageRecipe

FILE = Path(__file__).parents[3] / "recipes" / "stages" / "vl_stage2.yaml"


def test_text_is_all_that_no_stage_with_images_names(tmp_path: Path) -> None:
    named = ("descriptions", "instructions", "experience", "preferences")
    others = ("web", "books")
    make_run(tmp_path, [Made(source, 30) for source in (*named, *others) for _ in range(4)])
    inventory = take_inventory(Run.load(Store(str(tmp_path))), 2048)
    spec = plan_spec(load_stage("vl_stage2"), inventory, sequences=3, seed=0)
    drawn = {part.name: part for part in spec.components}
    assert {name: part.weight for name, part in drawn.items()} == {"instructions": 20, "text": 1}
    for source in (*named, *others):
        assert drawn["text"].draws_from(source) == (source in others)
        assert drawn["instructions"].draws_from(source) == (source == "instructions")


def test_a_stage_is_kept_with_what_it_says() -> None:
    stage = load_stage("vl_stage2")
    assert StageRecipe.model_validate(stage.model_dump(mode="json")) == stage
    assert Draw(sources=("a",)).model_dump() == {"sources": ("a",), "weight": 1}
    assert Draw(except_sources=("a",)).model_dump() == {"except_sources": ("a",), "weight": 1}


@pytest.mark.parametrize(
    ("draw", "found"),
    [("{weight: 1}", "neither"), ("{sources: [a], except_sources: [b], weight: 1}", "both")],
)
def test_one_of_them(tmp_path: Path, draw: str, found: str) -> None:
    before = next(line for line in FILE.read_text().splitlines() if line.startswith("  text:"))
    path = tmp_path / "vl_stage2.yaml"
    path.write_text(FILE.read_text().replace(before, f"  text: {draw}"))
    with pytest.raises(RecipeError, match=rf"draws\.text: found {found}, expected one of sources"):
        load_stage(path)
