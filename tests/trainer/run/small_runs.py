"""A small model and stage: requests that a second or two trains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.megatron.start import Layout
from trainer.models.recipe import ModelRecipe
from trainer.run.outcome import Outcome
from trainer.run.request import Request
from trainer.run.train import train
from trainer.stages.recipe import StageRecipe

LENGTH = 64

MODEL = ModelRecipe.model_validate(
    {
        "name": "two-layers", "layers": 2, "hidden": 32, "heads": 2, "head_dim": 16, "kv_heads": 2,
        "mixers": ["lightning", "softmax"], "rotary_dim": 8,
        "experts": {"count": 4, "top_k": 2, "ffn": 32, "capacity_factor": 0.9},
    }
)  # fmt: skip


def stage(**changes: Any) -> StageRecipe:
    """Ten steps: six of four sequences, then of eight."""
    whole = (6 * 4 + 4 * 8) * LENGTH
    return StageRecipe.model_validate(
        {
            "name": "first", "length": LENGTH, "rope_base": 10_000, "tokens": whole,
            "batch": [{"at": 0, "tokens": 4 * LENGTH}, {"at": 24 * LENGTH, "tokens": 8 * LENGTH}],
            "schedule": {"phases": [{"until": whole, "rate": 1e-2}]},
            **changes,
        }
    )  # fmt: skip


def request(corpus: str, out: Path, **changes: Any) -> Request:
    """One rank, in float32, with the same bits in every run."""
    asked = Request(
        model=MODEL, stage=stage(), corpus=corpus, out=out, micro_batch=2 * LENGTH,
        save_every=4, deterministic=True, json=True,
    )  # fmt: skip
    return replace(asked, **changes)


def metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def curve(out: Path) -> list[tuple[int, float, float, int]]:
    """Step, loss, gradient norm and dropped slots of each line."""
    names = ("step", "loss", "grad_norm", "dropped_tokens")
    return [tuple(line[name] for name in names) for line in metrics(out)]


def train_on_ranks(asked: Request, layout: Layout) -> Outcome:
    """What each rank runs."""
    return train(replace(asked, layout=layout))
