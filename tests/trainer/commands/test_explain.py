"""`trainer explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dataflow.why import story
from mixtures.plan import Plan
from tests.mixtures.made_runs import Made, make_run
from tests.trainer.commands.calls import LENGTH, call
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus
from trainer.data.errors import DataError


def explained(
    capsys: pytest.CaptureFixture[str], run: Path, corpus: Path, *arguments: object
) -> dict[str, Any]:
    capsys.readouterr()
    assert call("explain", run, "--corpus", corpus, *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_step_names_the_documents_that_its_batch_held(
    run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Corpus.open(corpus)
    (folder,) = (run / "plans").glob("plan-*")
    plan = Plan.open(folder)
    for step in (1, 2, 3):
        found = explained(capsys, run, corpus, "--step", step)
        with Batches(plan, opened) as batches:
            read = batches.step(4 * (step - 1), 4)
        wanted: list[int] = []
        for batch in read:
            wanted += [n for n in batch.documents.tolist() if n not in wanted]
        assert len(found["documents"]) == len(wanted)
        for number, one in zip(wanted, found["documents"], strict=True):
            told = story(opened.run, bytes.fromhex(one["doc_id"]))
            assert one["uri"] == told["document"]["uri"]
            assert one["source"] == told["document"]["source"]
            pieces = [p for i in range(4 * step - 4, 4 * step) for p in plan[i]]
            mine = [p.token_length for p in pieces if p.document == number]
            assert one["tokens"] == sum(mine)
            assert [p["tokens"] for p in one["pieces"]] == mine
        assert found["tokens"] == 4 * LENGTH
        assert found["sequences"] == [4 * step - 4, 4 * step]
        call("explain", run, "--corpus", corpus, "--step", step)
        text = capsys.readouterr().out
        assert all(one["doc_id"] in text and one["uri"] in text for one in found["documents"])
        assert f"{len(wanted)} documents, {4 * LENGTH} tokens" in text


def test_a_document_names_the_steps_that_name_it(
    run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: dict[str, list[int]] = {}
    for step in (1, 2, 3):
        for one in explained(capsys, run, corpus, "--step", step)["documents"]:
            steps.setdefault(one["doc_id"], []).append(step)
    for doc_id, wanted in steps.items():
        found = explained(capsys, run, corpus, "--document", doc_id)
        assert found["steps"] == wanted
        assert {one["step"] for one in found["occurrences"]} == set(wanted)
    # Steps were taken back: the run went on from step 2.
    lines = (run / "steps.jsonl").read_text().splitlines()
    only = next(doc_id for doc_id, wanted in steps.items() if wanted == [3])
    (run / "steps.jsonl").write_text("\n".join(lines[:2]) + "\n")
    try:
        assert explained(capsys, run, corpus, "--document", only)["steps"] == []
        call("explain", run, "--corpus", corpus, "--document", only)
        assert "in none of the run's 2 steps so far" in capsys.readouterr().out
    finally:
        (run / "steps.jsonl").write_text("\n".join(lines) + "\n")


def test_what_is_not_there_or_of_another_corpus_is_told(
    run: Path, corpus: Path, tmp_path: Path
) -> None:
    of = ("--corpus", corpus)
    with pytest.raises(DataError, match="found no step 4, expected one of 1 to 3"):
        call("explain", run, *of, "--step", 4)
    with pytest.raises(DataError, match="found 'a9', expected an id of 32 hexadecimal"):
        call("explain", run, *of, "--document", "a9")
    with pytest.raises(DataError, match=r"found no document 0{32} in its lookup"):
        call("explain", run, *of, "--document", 32 * "0")
    with pytest.raises(DataError, match=r"found no steps\.jsonl"):
        call("explain", tmp_path, *of, "--step", 1)
    make_run(tmp_path / "other", [Made("web", 50)], tokenizer=Corpus.open(corpus).tokenizer)
    with pytest.raises(DataError, match="found logical root"):
        call("explain", run, "--corpus", tmp_path / "other", "--step", 1)
    (tmp_path / "steps.jsonl").write_bytes((run / "steps.jsonl").read_bytes())
    with pytest.raises(DataError, match="found no whole plan in plans/"):
        call("explain", tmp_path, *of, "--step", 1)
