"""A corpus of text, and of questions about synthesised images, as ``build`` makes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.build import build
from tests.dataflow.corpora import write_corpus
from vl_data.synthesis.synthesise import Settings
from vl_data.synthesis.write import write_samples

RECIPE = """\
name: shown
seed: 3
sources:
  - name: text
    paths: [a.jsonl]
    fields: {id: id, license: license}
    max_bad_fraction: 0.2
  - &samples
    name: descriptions
    paths: [descriptions/]
    include: [samples.jsonl]
    format: llava
    fields: {id: id}
    images: {min_side: 56}
  - {<<: *samples, name: instructions, paths: [instructions/]}
clean: [control]
split: {held_out: 0.05}
tokenizer: {train: {vocab_size: 512}}
pack: {shard_bytes: 256KiB, sample_bytes: 32KiB}
"""


@pytest.fixture(scope="session")
def shown_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 112 x 56 to 56 x 112 pixels; not to be written into."""
    folder = tmp_path_factory.mktemp("shown")
    write_corpus(folder, documents=40)
    for seed, name in enumerate(("descriptions", "instructions")):
        settings = Settings(seed=seed, size=112, families=("colours", "counting"), aspects="mixed")
        write_samples(folder / name, 80, settings)
    recipe = folder / "shown.yaml"
    recipe.write_text(RECIPE)
    build(recipe, str(folder / "run"), workers=0, show=False)
    return folder / "run"
