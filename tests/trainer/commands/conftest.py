"""A run of a tiny model on a corpus as `build` makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.commands.calls import LENGTH, MODEL, train_on


@pytest.fixture(scope="session")
def corpus(built_run: Path) -> Path:
    return built_run


@pytest.fixture(scope="session")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of four sequences, in two checkpoints, with its tokenizer."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "first"
    train_on(corpus, out, MODEL, length=LENGTH, steps=3)
    return out
