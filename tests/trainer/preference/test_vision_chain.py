"""The project's four stages with images, one after the other, as small as a model of two layers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mixtures.plan import Plan
from tests.trainer.preference.small_stages import LENGTH, MODEL_VL, pairs_request
from tests.trainer.run.small_runs import metrics
from trainer.megatron import checkpoints
from trainer.run.outcome import Outcome
from trainer.run.train import train
from trainer.stages.loading import chain, load_stage
from trainer.stages.recipe import StageRecipe

STAGES = ("vl_stage1", "vl_stage2", "vl_stage3", "vl_stage4")
STEPS = 8
_KEPT = {
    "name", "after", "draws", "train", "packing", "keep_optimizer", "most_epochs", "objective",
}  # fmt: skip


def small(name: str, **changes: Any) -> StageRecipe:
    """The project's stage with its own draws, parts, objective and epochs."""
    whole = STEPS * 2 * LENGTH
    return StageRecipe.model_validate(
        {
            "length": LENGTH, "rope_base": 10_000, "tokens": whole,
            "batch": [{"at": 0, "tokens": 2 * LENGTH}],
            "schedule": {"phases": [{"until": whole, "rate": 3e-3}]},
            "tiling": "tiny56",
            **load_stage(name).model_dump(include=_KEPT),
            **changes,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(
    forms_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Outcome]]:
    """The chain, trained: a folder a stage."""
    out = tmp_path_factory.mktemp("chain")
    found = []
    for name in STAGES:
        changes: dict[str, Any] = {"after": None} if name == STAGES[0] else {}
        if name == STAGES[-1]:
            stop = {"every": 4, "patience": 3, "pairs": 6, "fewest": 6}
            changes["objective"] = {"kind": "dpo", "beta": 0.5, "early_stop": stop}
        stage = small(name, **changes)
        asked = pairs_request(forms_run, out / name, model=MODEL_VL, stage=stage, save_every=STEPS)
        found.append(train(asked))
    return out, found


def test_the_chain_is_the_papers() -> None:
    assert chain("vl_stage4") == ["text_8k", *STAGES]
    third, fourth = load_stage("vl_stage3"), load_stage("vl_stage4")
    assert (third.tokens, third.most_epochs, third.objective) == (44_800_000_000, 1, None)
    assert set(third.train) == set(fourth.train) == {"vision", "projector", "language"}
    assert fourth.most_epochs is not None
    assert fourth.most_epochs < 1
    assert fourth.objective is not None
    assert fourth.objective.kind == "dpo"
    assert fourth.objective.early_stop is not None


def test_each_stage_starts_from_the_one_before(outcomes: tuple[Path, list[Outcome]]) -> None:
    out, found = outcomes
    assert [outcome.state for outcome in found] == ["finished"] * 4
    for name, outcome in zip(STAGES, found, strict=True):
        state = checkpoints.read_state(out / name / "checkpoints", outcome.step)
        assert state["finished"], name
        assert state["identity"]["stage"]["name"] == name


def test_dialogues_are_read_once(outcomes: tuple[Path, list[Outcome]]) -> None:
    out, found = outcomes
    (folder,) = (out / "vl_stage3" / "plans").glob("plan-*")
    read = Counter(piece.document for pieces in Plan.open(folder) for piece in pieces)
    assert set(read.values()) == {1}
    assert found[2].steps > 1
    assert {line["sources"]["experience"] for line in metrics(out / "vl_stage3")} == {1.0}


def test_pairs_come_last(outcomes: tuple[Path, list[Outcome]]) -> None:
    out, _ = outcomes
    lines = metrics(out / "vl_stage4")
    assert lines[0]["preference"]["margin"] == 0
    held_out = [line["held_out"] for line in lines if "held_out" in line]
    assert held_out
    assert held_out[-1]["margin"] > 0
