"""Capability tags in the report: of the run's own pairs, counted; others are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from dataflow.__main__ import main
from dataflow.build import build
from dataflow.report import load_inputs
from dataflow.report.tags import count_tags
from dataflow.store import Store
from tests.dataflow.corpora import sentence_text
from tests.dataflow.sources.made_pairs import image
from vl_data.labels.items import pair_digest
from vl_data.labels.tables import CAPTIONS, TAGS, label_table, write_labels

COUNT = 8
IMAGES = [image(number) for number in range(COUNT)]
ABOUT = {"kind": "tags", "model": {"model": "made-to-tag"}, "prompt": {"name": "tag"}}
TAGGED = ["counting"] * 3 + ["reading"] * 2 + ["geometry"]


def _question(number: int) -> tuple[str, str]:
    return f"Question {number}?", sentence_text(np.random.default_rng(number), 30)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagged")
    lines = []
    for number, data in enumerate(IMAGES):
        (folder / f"{number}.png").write_bytes(data)
        asked, answer = _question(number)
        turns = [{"from": "human", "value": f"<image>\n{asked}"}, {"from": "gpt", "value": answer}]
        lines.append(json.dumps({"image": f"{number}.png", "conversations": turns}))
    (folder / "chats.jsonl").write_text("\n".join(lines))
    recipe = folder / "tagged.yaml"
    recipe.write_text(
        "name: tagged\nsources:\n  - {name: chats, paths: [chats.jsonl], format: llava}\n"
        "tokenizer: {train: {vocab_size: 512}}\n"
    )
    build(recipe, str(folder / "run"), workers=0, show=False)
    return folder / "run"


def _table(folder: Path, tags: Sequence[str | None], offset: int = 0) -> Path:
    rows: list[dict[str, Any]] = []
    for number, found in enumerate(tags, offset):
        asked, answer = _question(number)
        digest = blake3(IMAGES[number % COUNT]).digest()
        why = None if found else "refused"
        rows.append({"digest": pair_digest(asked, answer, [digest]), "tag": found, "reason": why,
                     "detail": None})  # fmt: skip
    return write_labels(folder, "tags", label_table(TAGS, rows, ABOUT))[0]


def test_tags_of_the_runs_pairs_are_counted(run: Path, tmp_path: Path) -> None:
    path = _table(tmp_path, [*TAGGED, None])
    totals = count_tags(load_inputs(Store(str(run)).open, path))
    assert totals is not None
    # Of eight pairs one is not in the table, and one has a row without a tag.
    assert totals.pairs == COUNT
    assert totals.distribution["tag"].to_pylist() == ["counting", "reading", "geometry"]
    assert totals.distribution["count"].to_pylist() == [3, 2, 1]
    assert (totals.tail.tagged, totals.tail.untagged, totals.tail.singletons) == (6, 1, 1)
    assert totals.digest == blake3(path.read_bytes()).hexdigest()


def test_the_report_shows_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _table(tmp_path, [*TAGGED])
    assert main(["report", str(run), "--tags", str(path)]) == 0
    page = (run / "report.html").read_text()
    assert "6 of 8 instruction pairs in kept documents have a tag by made-to-tag: 3 tags" in page
    assert "The long tail" in page
    assert blake3(path.read_bytes()).hexdigest() in page
    assert main(["report", str(run)]) == 0
    assert "The long tail" not in (run / "report.html").read_text()
    capsys.readouterr()


def test_tags_that_are_none_of_this_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path) -> str:
        before = (run / "report.html").read_bytes()
        assert main(["report", str(run), "--tags", str(path), "--json"]) == 1
        assert (run / "report.html").read_bytes() == before
        return str(json.loads(capsys.readouterr().out)["error"])

    path = _table(tmp_path, TAGGED, offset=100)
    assert "found 6 tags, none for any of the 8 instruction pairs of this run" in refused(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "no Parquet file" in refused(path)
    assert "No such file" in refused(tmp_path / "none.parquet")
    caption = {"digest": b"d" * 32, "caption_digest": None, "caption": "x"}
    other, _ = write_labels(tmp_path, "captions", label_table(CAPTIONS, [caption], ABOUT))
    assert "expected labels with digest, tag" in refused(other)
