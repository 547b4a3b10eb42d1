"""How a stage's documents become sequences, from its recipe to the plan's specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dataflow.run import Run
from dataflow.store import Store
from mixtures.inventory import take_inventory
from tests.mixtures.made_runs import Made, make_run
from trainer.run.draws import plan_spec
from trainer.stages.loading import load_stage
from trainer.stages.recipe import StageRecipe


def stage(**changes: Any) -> StageRecipe:
    found: dict[str, Any] = {**load_stage("text_8k").model_dump(), **changes}
    return StageRecipe.model_validate(found)


@pytest.mark.parametrize("name", ["text_8k", "text_1m"])
def test_the_text_stages_are_streams_and_are_written_as_before(name: str) -> None:
    found = load_stage(name)
    assert (found.packing, found.tiling) == ("stream", None)
    assert not {"packing", "tiling"} & found.model_dump(mode="json").keys()


def test_the_plan_is_asked_for_what_the_recipe_says(tmp_path: Path) -> None:
    make_run(tmp_path, [Made("web", 30) for _ in range(9)])
    inventory = take_inventory(Run.load(Store(str(tmp_path))), 131_072)
    for packing, tiling in (("stream", None), ("whole", None), ("whole", "fixed336")):
        asked = stage(packing=packing, tiling=tiling)
        assert StageRecipe.model_validate(asked.model_dump()) == asked
        spec = plan_spec(asked, inventory, sequences=3, seed=0)
        assert (spec.packing, spec.tiling) == (packing, tiling)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tiling": "tiny56"}, "with packing stream, expected one of released28, .* whole"),
        ({"packing": "whole", "tiling": "tiny57"}, "found tiling 'tiny57'"),
        ({"packing": "tight"}, "'stream' or 'whole'"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        stage(**changes)
