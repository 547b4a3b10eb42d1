"""Stages with images for real: text, then the tower alone, then all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixtures.plan import Plan
from tests.trainer.run.saved_bits import saved_bits
from tests.trainer.run.small_runs import MODEL, metrics
from trainer.models.recipe import ModelRecipe
from trainer.run.request import Request, RunRefused
from trainer.run.train import train
from trainer.stages.loading import chain, load_stage
from trainer.stages.recipe import StageRecipe

LENGTH, STEPS = 256, 24

VISION = {
    "layers": 2, "hidden": 24, "heads": 4, "ffn": 40, "patch": 14, "tile": 56, "tiling": "tiny56",
}  # fmt: skip
MODEL_VL = ModelRecipe.model_validate({**MODEL.model_dump(), "name": "two-vl", "vision": VISION})


def _stage(name: str, **changes: Any) -> StageRecipe:
    whole = STEPS * 4 * LENGTH
    return StageRecipe.model_validate(
        {
            "name": name, "length": LENGTH, "rope_base": 10_000, "tokens": whole,
            "batch": [{"at": 0, "tokens": 4 * LENGTH}],
            "schedule": {"phases": [{"until": whole, "rate": 1e-2}]},
            **changes,
        }
    )  # fmt: skip


def _own(name: str, **changes: Any) -> StageRecipe:
    """The project's stage, as small as the model: what it trains and draws is its own."""
    given = load_stage(name)
    kept = given.model_dump(include={"draws", "train", "packing", "keep_optimizer", "after"})
    return _stage(name, **{**kept, "tiling": "tiny56", **changes})


@pytest.fixture(scope="module")
def folder(shown_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain, trained: a folder a stage."""
    out = tmp_path_factory.mktemp("chain")
    for stage in (_stage("text_8k"), _own("vl_stage1"), _own("vl_stage2")):
        outcome = train(_request(shown_run, out, stage))
        assert outcome.state == "finished"
    return out


def _request(run: Path, out: Path, stage: StageRecipe, **changes: Any) -> Request:
    asked = Request(
        model=MODEL_VL, stage=stage, corpus=str(run), out=out / stage.name, micro_batch=2 * LENGTH,
        save_every=STEPS, deterministic=True, json=True,
    )  # fmt: skip
    return replace(asked, **changes)


def _plan(out: Path) -> Plan:
    (folder,) = (out / "plans").glob("plan-*")
    return Plan.open(folder)


def test_the_chain_leads_through_text() -> None:
    assert chain("vl_stage2") == ["text_8k", "vl_stage1", "vl_stage2"]
    assert load_stage("vl_stage1").train == ("vision", "projector")
    weights = {name: draw.weight for name, draw in (load_stage("vl_stage2").draws or {}).items()}
    assert weights == {"instructions": 20, "text": 1}


@pytest.mark.parametrize("name", ["vl_stage1", "vl_stage2"])
def test_the_loss_falls(folder: Path, name: str) -> None:
    losses = [line["loss"] for line in metrics(folder / name)]
    assert len(losses) == STEPS
    assert sum(losses[-6:]) < sum(losses[:6]) * 0.98


def test_a_stage_of_text_reads_no_image(folder: Path) -> None:
    plan = _plan(folder / "text_8k")
    assert plan.spec.components[0].sources == ("text",)


def test_only_the_named_parts_change(folder: Path) -> None:
    before, first, second = (
        saved_bits(folder / name / "checkpoints", STEPS)
        for name in ("text_8k", "vl_stage1", "vl_stage2")
    )
    models = [{k: v for k, v in bits.items() if _is_weight(k)} for bits in (before, first, second)]
    assert models[0].keys() == models[1].keys() == models[2].keys()
    for name, value in models[0].items():
        same = value == models[1][name]
        assert same == (not _sees(name)), name
    changed = [name for name in models[1] if models[1][name] != models[2][name]]
    assert any(_sees(name) for name in changed)
    assert any(not _sees(name) for name in changed)


def _sees(name: str) -> bool:
    return "vision_tower." in name or "projector." in name


def _is_weight(name: str) -> bool:
    return "optimizer" not in name


def test_a_run_that_goes_on_is_the_run_that_was_not_cut(
    folder: Path, shown_run: Path, tmp_path: Path
) -> None:
    asked = _request(
        shown_run, tmp_path, _own("vl_stage1"), start_from=folder / "text_8k", save_every=4
    )
    train(replace(asked, steps=4))
    train(replace(asked, resume=True))
    found = [(line["step"], line["loss"]) for line in metrics(tmp_path / "vl_stage1")]
    assert found == [(line["step"], line["loss"]) for line in metrics(folder / "vl_stage1")]


def test_what_does_not_fit_is_refused(shown_run: Path, tmp_path: Path) -> None:
    stage = _own("vl_stage1", after=None)
    with pytest.raises(RunRefused, match="found model two-layers without a vision block"):
        train(_request(shown_run, tmp_path, stage, model=MODEL))
    with pytest.raises(RunRefused, match="found tiling fixed336 with tiles of 336 pixels"):
        train(_request(shown_run, tmp_path, _own("vl_stage1", after=None, tiling="fixed336")))
    with pytest.raises(RunRefused, match="starts from text_8k: found no"):
        train(_request(shown_run, tmp_path, _own("vl_stage1")))
