"""What a stage of preferences may ask for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.trainer.preference.small_stages import LENGTH, pairs_stage
from trainer.preference.recipe import Dpo, EarlyStop
from trainer.stages.loading import load_stage
from trainer.stages.recipe import StageRecipe
from trainer.stages.scaling import scaled


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"packing": "stream", "tiling": None}, "an objective of pairs with packing stream"),
        ({"most_epochs": None}, "an objective of pairs with packing whole and most_epochs None"),
        ({"objective": None, "draws": None}, "found most_epochs without draws"),
        ({"objective": {"kind": "ppo"}}, "kind"),
        ({"objective": {"kind": "dpo", "beta": 0}}, "beta"),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        pairs_stage(**changes)


def test_fewest_of_most() -> None:
    with pytest.raises(ValidationError, match="found fewest 16 of at most 8 pairs"):
        EarlyStop(pairs=8)


def test_stages_without_pairs_are_kept_as_they_were() -> None:
    assert not {"objective", "most_epochs"} & load_stage("vl_stage2").model_dump().keys()


def test_it_survives_json_and_scaling() -> None:
    stage = pairs_stage()
    assert StageRecipe.model_validate(stage.model_dump(mode="json")) == stage
    smaller = scaled(stage, tokens=8 * LENGTH)
    assert (
        smaller.objective
        == stage.objective
        == Dpo(kind="dpo", beta=0.5, early_stop=EarlyStop(every=2, pairs=8, fewest=8))
    )
    assert smaller.most_epochs == stage.most_epochs
