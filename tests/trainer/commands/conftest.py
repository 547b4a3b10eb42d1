"""A corpus as `build` makes it, and a run of a tiny model on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dataflow.build import build
from tests.dataflow.corpora import write_corpus, write_recipe
from tests.trainer.commands.calls import LENGTH, MODEL, train_on
from trainer.data.corpus import Corpus
from trainer.data.tokenizers import tokenizer_of


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=40)
    recipe = write_recipe(folder, partition_bytes="1MiB")
    recipe.write_text(recipe.read_text() + "dedup: {near: {bands: 4, rows: 4}}\n")
    build(recipe, str(folder / "run"), workers=0, show=False)
    return folder / "run"


@pytest.fixture(scope="session")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of four sequences, in two checkpoints, with its tokenizer."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "first"
    train_on(corpus, out, MODEL, length=LENGTH, steps=3)
    tokenizer_of(Corpus.open(corpus).run).save(out / "tokenizer")
    return out
