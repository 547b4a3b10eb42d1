"""Tiers where documents with images and documents of text are scored by different signals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflow.build import build
from dataflow.run import Run
from dataflow.store import Store
from dataflow.verify import verify
from tests.dataflow.corpora import write_corpus
from tests.dataflow.picture_corpora import (
    picture_format,
    write_picture_corpus,
    write_picture_recipe,
)

BY = "by: [{image_reward.score: 1}, {reward.depth: 1}]"


@pytest.fixture(scope="module", autouse=True)
def _format() -> Iterator[None]:
    with picture_format():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=20)
    write_picture_corpus(folder)
    return folder


def _run(corpus: Path, out: Path, more: str) -> Run:
    recipe = write_picture_recipe(corpus)
    recipe.write_text(recipe.read_text() + more)
    build(recipe, str(out), show=False)
    run = Run.load(Store(str(out)))
    assert verify(run).problems == []
    return run


def _documents(run: Run) -> list[dict[str, Any]]:
    """The rows of the index with the signals of their documents."""
    signals: dict[bytes, dict[str, Any]] = {}
    for partition in run.partitions:
        ids = run.table(partition.read, "documents", ["doc_id"])["doc_id"].to_pylist()
        for record in (partition.reward, partition.image_reward):
            if record is not None:
                for doc_id, row in zip(ids, run.table(record, "signals").to_pylist(), strict=True):
                    signals.setdefault(doc_id, {}).update(row)
    rows = [row for shard in run.shards for row in run.table(shard.index, "index").to_pylist()]
    return [{**row, **signals[row["doc_id"]]} for row in rows]


def test_scores_of_two_kinds_are_never_compared(corpus: Path, tmp_path: Path) -> None:
    more = "reward: {student: default}\nimage_reward: {}\n"
    run = _run(
        corpus, tmp_path / "run", more + f"tiers: {{{BY}, min_documents: 1, min_tokens: 1}}\n"
    )
    assert run.grade is not None
    cuts = run.table(run.grade, "cuts").to_pylist()
    assert {row["by"] for row in cuts} == {"image_reward.score", "reward.depth"}
    documents = _documents(run)
    pictured = [row for row in documents if row["image_reward.score"] is not None]
    assert pictured
    assert len(pictured) < len(documents)
    for row in documents:
        image = row["image_reward.score"] is not None
        score = row["image_reward.score"] if image else row["reward.depth"]
        mine = [
            cut
            for cut in cuts
            if (cut["source"], cut["language"]) == (row["source"], row["language"])
            and cut["by"] == ("image_reward.score" if image else "reward.depth")
        ]
        reached = [c for c in mine if c["from_score"] is None or score >= c["from_score"]]
        assert row["tier"] == reached[-1]["tier"]


def test_texts_need_no_score_where_images_have_one(corpus: Path, tmp_path: Path) -> None:
    more = "image_reward: {}\ntiers: {by: {image_reward.score: 1}, min_documents: 1}\n"
    run = _run(corpus, tmp_path / "run", more)
    assert run.categories is None
    for row in _documents(run):
        assert (row["tier"] == "unscored") == (row["image_reward.score"] is None)
    assert run.grade is not None
    shares = run.table(run.grade, "shares")
    assert shares["category"].null_count == shares.num_rows
    page = run.store.read("report.html").decode()
    assert 'id="tiers"' in page
    assert "<h3>Categories</h3>" not in page
