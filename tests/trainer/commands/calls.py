"""Commands called as `python -m trainer` calls them, and a run to call them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.command import parser
from trainer.models.recipe import ModelRecipe
from trainer.run.outcome import Outcome
from trainer.run.request import Request
from trainer.run.train import train
from trainer.stages.recipe import StageRecipe

LENGTH = 64

MODEL = ModelRecipe.model_validate(
    {
        "name": "small", "layers": 2, "hidden": 32, "heads": 2, "head_dim": 16, "kv_heads": 1,
        "mixers": ["lightning", "softmax"], "rotary_dim": 16,
        "experts": {"count": 4, "top_k": 2, "ffn": 24},
    }
)  # fmt: skip
"""One that both layouts can say, and that drops no token."""


def train_on(
    corpus: Path, out: Path, model: ModelRecipe, *, length: int, steps: int, **asked: Any
) -> Outcome:
    """Train a stage of ``steps`` steps of four sequences; a checkpoint every second step."""
    whole = steps * 4 * length
    stage = StageRecipe.model_validate(
        {
            "name": out.name, "length": length, "rope_base": 5_000, "tokens": whole,
            "batch": [{"tokens": 4 * length}],
            "schedule": {"phases": [{"until": whole, "rate": 3e-3}]},
        }
    )  # fmt: skip
    return train(
        Request(model=model, stage=stage, corpus=str(corpus), out=out, save_every=2, **asked)
    )


def call(*arguments: object) -> int:
    """A command's exit code; its errors are raised."""
    options = parser().parse_args([str(one) for one in arguments])
    code: int = options.run(options)
    return code
