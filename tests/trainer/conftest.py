"""What tests of several parts of the trainer share."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.build import build
from tests.dataflow.corpora import write_corpus, write_recipe


@pytest.fixture(scope="session")
def built_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus as ``build`` makes it, from two sources; not to be written into."""
    folder = tmp_path_factory.mktemp("built")
    write_corpus(folder, documents=40)
    recipe = write_recipe(folder, partition_bytes="1MiB")
    recipe.write_text(recipe.read_text() + "dedup: {near: {bands: 4, rows: 4}}\n")
    build(recipe, str(folder / "run"), workers=0, show=False)
    return folder / "run"
