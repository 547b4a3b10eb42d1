"""A corpus of text, and of every form of synthesised pictures, as ``build`` makes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.build import build
from tests.dataflow.corpora import write_corpus

RECIPE = """\
name: forms
seed: 3
sources:
  - name: text
    paths: [a.jsonl]
    fields: {id: id, license: license}
    max_bad_fraction: 0.2
  - name: descriptions
    kind: synthesised
    synthesis: &small {form: descriptions, count: 60, size: 112, families: [colours, counting]}
    seed: 1
  - {name: instructions, kind: synthesised, synthesis: {<<: *small, form: instructions}, seed: 2}
  - {name: experience, kind: synthesised, synthesis: {<<: *small, form: experience}, seed: 3}
  - name: preferences
    kind: synthesised
    synthesis: {<<: *small, form: preferences, count: 120}
    seed: 4
clean: [control]
split: {held_out: 0.1}
tokenizer: {train: {vocab_size: 512}}
pack: {shard_bytes: 256KiB, sample_bytes: 32KiB}
"""


@pytest.fixture(scope="session")
def forms_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 112 x 112 pixels; not to be written into."""
    folder = tmp_path_factory.mktemp("forms")
    write_corpus(folder, documents=40)
    recipe = folder / "forms.yaml"
    recipe.write_text(RECIPE)
    build(recipe, str(folder / "run"), workers=0, show=False)
    return folder / "run"
