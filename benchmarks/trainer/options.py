"""What a run of the trainer's benchmarks was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.harness import ROOT, Options


@dataclass(frozen=True)
class TrainerOptions(Options):
    """Of the cases that train a model with images.

    ``model``: a name or a file, or a trained model's folder, None for the case's own; ``device``:
    where; ``corpus``: a run whose text the model learns first. ``documents``: of `plan_scale`'s
    index, None for its own number.
    """

    model: str | None = None
    corpus: Path = ROOT / "runs" / "quickstart"
    device: Literal["cuda", "cpu"] = "cuda"
    documents: int | None = None
