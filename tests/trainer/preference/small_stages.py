"""Stages of preferences for a model of two layers: requests that seconds train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.trainer.run.small_runs import MODEL
from trainer.models.recipe import ModelRecipe
from trainer.run.request import Request
from trainer.stages.recipe import StageRecipe

LENGTH = 512
VISION = {
    "layers": 2, "hidden": 24, "heads": 4, "ffn": 40, "patch": 14, "tile": 56, "tiling": "tiny56",
}  # fmt: skip
MODEL_VL = ModelRecipe.model_validate({**MODEL.model_dump(), "name": "two-vl", "vision": VISION})


def pairs_stage(steps: int = 6, rate: float = 1e-3, **changes: Any) -> StageRecipe:
    """Steps of four sequences of 512 tokens, which hold two pairs or so."""
    whole = steps * 4 * LENGTH
    objective = {"kind": "dpo", "beta": 0.5, "early_stop": {"every": 2, "pairs": 8, "fewest": 8}}
    return StageRecipe.model_validate(
        {
            "name": "pairs", "length": LENGTH, "rope_base": 10_000, "tokens": whole,
            "batch": [{"at": 0, "tokens": 4 * LENGTH}],
            "schedule": {"phases": [{"until": whole, "rate": rate}]},
            "draws": {"preferences": {"sources": ["preferences"]}},
            "most_epochs": 0.9, "objective": objective, "packing": "whole", "tiling": "tiny56",
            "keep_optimizer": False,
            **changes,
        }
    )  # fmt: skip


def pairs_request(run: Path, out: Path, **changes: Any) -> Request:
    """One rank, in float32, with the same bits in every run."""
    asked = Request(
        model=MODEL_VL, stage=pairs_stage(), corpus=str(run), out=out, micro_batch=2 * LENGTH,
        save_every=2, deterministic=True, json=True,
    )  # fmt: skip
    return replace(asked, **changes)
