"""A corpus whose documents the build makes: whole, in shards, and the same however it is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.build import build
from dataflow.run import Run
from dataflow.sources.synthesised.forms import FORMS
from dataflow.store import Store
from dataflow.verify import verify
from dataflow.why import find_documents, story

COUNT = 30
TOKENIZER = Path(__file__).parents[2] / "recipes" / "tokenizers" / "quickstart-32k"


def _built(folder: Path, partition_bytes: str) -> Run:
    folder.mkdir()
    shown = f"count: {COUNT}, size: 56, families: [colours, counting]"
    sources = "".join(
        f"  - name: {form}\n    kind: synthesised\n    seed: {seed}\n"
        f"    synthesis: {{form: {form}, {shown}}}\n"
        for seed, form in enumerate(FORMS)
    )
    recipe = folder / "made.yaml"
    recipe.write_text(
        f"name: made\nseed: 3\nsources:\n{sources}split: {{held_out: 0.1}}\n"
        f"tokenizer: {{use: {TOKENIZER}}}\nbuild: {{partition_bytes: {partition_bytes}}}\n"
    )
    build(recipe, str(folder / "run"), workers=0, show=False)
    return Run.load(Store(str(folder / "run")))


@pytest.mark.long
def test_a_corpus_of_all_forms_is_the_same_however_it_is_cut(tmp_path: Path) -> None:
    whole, cut = _built(tmp_path / "whole", "8MiB"), _built(tmp_path / "cut", "64KiB")
    assert whole.header["logical_root"] == cut.header["logical_root"]
    assert len(whole.partitions) == len(FORMS)
    assert len(cut.partitions) == 5 * len(FORMS)
    for run in (whole, cut):
        assert verify(run).problems == []
        assert {"train-vl-000000", "heldout-vl-000000"} <= {shard.name for shard in run.shards}
        found = find_documents(run, "synthesised:experience")
        assert len(found) == COUNT
        told = [story(run, one)["document"] for one in found]
        assert {document["offset"] for document in told} == set(range(COUNT))
        assert all(document["images"] and document["loss"] for document in told)
