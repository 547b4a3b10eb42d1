"""``python -m quality label``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quality.__main__ import main
from quality.reward.labels import load_labels
from quality.reward.scores_file import read_scores
from tests.quality.endpoint.misbehaving import Server, serving, slow, status
from tests.quality.reward.labeler.answering import judging, lines, rows

TEXTS = [f"Document {i} says {i * i} things." for i in range(20)]
DONE, FAILED, USAGE = 0, 1, 2
NOWHERE = ["--endpoint", "http://127.0.0.1:9/v1", "--model", "toy"]


def call(
    capsys: pytest.CaptureFixture[str], *words: object, code: int = DONE, machine: bool = True
) -> Any:
    capsys.readouterr()
    assert main(["label", *map(str, words), *(["--json"] if machine else [])]) == code
    said = capsys.readouterr()
    return json.loads(said.out) if machine else said.out + said.err


def at(server: Server, *more: object) -> list[object]:
    return ["--endpoint", server.url, "--model", "toy", "--backoff", 0.01, *more]


def test_labels_failures_and_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = lines(tmp_path / "list.jsonl", [*TEXTS, "", TEXTS[0]])
    out = tmp_path / "out"
    with serving(judging()) as server:
        said = call(capsys, listed, "--out", out, *at(server))
        assert (said["ok"], said["documents"], said["labelled"], said["asked"]) == (
            True,
            21,
            20,
            20,
        )
        assert said["without"] == {"empty": 1}
        again = call(capsys, listed, "--out", out, *at(server))
        assert (again["asked"], again["kept"], len(server.requests)) == (0, 20, 20)
        plain = call(capsys, listed, "--out", out, *at(server), machine=False)
    labels = load_labels(out / "labels.jsonl")
    assert [label.uri for label in labels] == ["list.jsonl"] * 20
    assert [label.offset for label in labels] == sorted(label.offset for label in labels)
    assert {label.rater for label in labels} == {"toy"}
    assert all(label.conciseness is not None for label in labels)
    assert all(label.educational_value is not None for label in labels)
    table, scorer = read_scores(out / "scores.parquet")
    assert scorer == said["scorer"]
    assert scorer.startswith("toy rubric-1.")
    depth = {label.content_id: label.depth for label in labels}
    assert {r["content_id"]: r["reward.depth"] for r in table.to_pylist()} == depth
    assert [row["why"] for row in rows(out / "failures.jsonl")] == ["empty"]
    assert len(rows(out / "answers.jsonl")) == 20
    assert "20 of 21 documents labelled" in plain
    assert "empty: The document has no text" in plain


def test_a_run_is_labelled_by_a_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    (run / "journal").mkdir(parents=True)
    (run / "journal" / "run.json").write_text('{"name": "small"}')
    (run / "documents").mkdir()
    (run / "index").mkdir()
    ids = [bytes([i]) * 16 for i in range(20)]
    table = pa.table(
        {
            "content_id": pa.array(ids, pa.binary(16)),
            "source": ["web"] * 20,
            "uri": [f"page-{i}" for i in range(20)],
            "offset": pa.array(range(20), pa.int64()),
            "text": pa.array(TEXTS, pa.large_string()),
        }
    )
    pq.write_table(table, run / "documents" / "a.parquet")
    held = pa.table({"content_id": pa.array(ids[:10], pa.binary(16))})
    pq.write_table(held, run / "index" / "heldout-000000.parquet")
    with serving(judging()) as server:
        words = at(server, "--held-out", 0)
        call(capsys, run, "--out", tmp_path / "some", "--sample", 7, *words)
        call(capsys, run, "--out", tmp_path / "all", *words)
    some, every = (load_labels(tmp_path / name / "labels.jsonl") for name in ("some", "all"))
    assert [label.content_id for label in every] == ids
    assert [label.split for label in every] == ["heldout"] * 10 + ["train"] * 10
    assert {label.origin for label in every} == {"run small: web"}
    assert [label.offset for label in every] == list(range(20))
    assert len(some) == 7
    assert some == [label for label in every if label in some]


def test_the_cap_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = lines(tmp_path / "list.jsonl", TEXTS)
    with serving(judging()) as server:
        words = [listed, "--out", tmp_path / "out", *at(server, "--answers", 1)]
        capped = call(capsys, *words, "--max-tokens", 20_000)
        assert capped["without"] == {"not-asked": 20 - capped["labelled"]}
        assert 0 < capped["labelled"] < 20
        assert "higher cap" in call(capsys, *words, "--max-tokens", 20_000, machine=False)
        assert call(capsys, *words)["labelled"] == 20


def test_a_folder_holds_the_labels_of_one_labeler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = lines(tmp_path / "list.jsonl", TEXTS[:3])
    with serving(judging()) as server:
        words = [listed, "--out", tmp_path / "out", *at(server)]
        call(capsys, *words)
        before = (tmp_path / "out" / "labels.jsonl").read_bytes()
        for change in (["--model", "other"], ["--characters", 500], ["--temperature", 1]):
            found = call(capsys, *words, *change, code=USAGE)
            assert "found labels by another labeler" in found["error"]
            assert "choose another --out" in found["error"]
        asked = [listed, "--out", tmp_path / "out", "--checkpoint", tmp_path]
        assert "kind 'endpoint'" in call(capsys, *asked, code=USAGE)["error"]
    assert (tmp_path / "out" / "labels.jsonl").read_bytes() == before
    (tmp_path / "out" / "labeler.json").write_text("{")
    assert "labeler.json: found no JSON" in call(capsys, *words, code=USAGE)["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "found neither of --endpoint URL and --checkpoint DIR"),
        ([*NOWHERE, "--checkpoint", "x"], "found both"),
        (["--endpoint", "http://127.0.0.1:9/v1"], "no --model"),
        (["--checkpoint", "x", "--model", "toy"], "--model: found it without --endpoint"),
        ([*NOWHERE, "--longest", "9"], "--longest: found it without --checkpoint"),
        ([*NOWHERE, "--characters", "10"], "--characters: found 10"),
        ([*NOWHERE, "--sample", "0"], "--sample: found 0"),
        ([*NOWHERE, "--held-out", "2"], "--held-out: found 2"),
        ([*NOWHERE, "--max-cost", "5"], "no price"),
        (["--endpoint", "nowhere", "--model", "toy"], "expected a URL"),
    ],
)
def test_wrong_options_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    listed = lines(tmp_path / "list.jsonl", TEXTS)
    found = call(capsys, listed, "--out", tmp_path / "out", *words, code=USAGE)
    assert found["ok"] is False
    assert said in found["error"]
    assert said in call(
        capsys, listed, "--out", tmp_path / "out", *words, code=USAGE, machine=False
    )


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("none.jsonl", None, "found no such file"),
        ("list.txt", b"x", "expected the folder of a run"),
        ("list.jsonl", b'{"text": "x"}\n[]\n', "line 2"),
        ("list.jsonl", b"", "found no document"),
        ("list.jsonl.gz", b"\x1f\x8b\x08", "found a damaged file"),
        ("list.jsonl.gz", b"plain", "found a damaged file"),
        ("list.jsonl.zst", b"plain", "found a damaged file"),
    ],
)
def test_wrong_inputs_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes | None, said: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    words = [tmp_path / name, "--out", tmp_path / "out", *NOWHERE]
    assert said in call(capsys, *words, code=USAGE)["error"]


def test_an_endpoint_that_takes_nothing_fails_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = lines(tmp_path / "list.jsonl", TEXTS)
    with serving(status(403)) as server:
        words = [listed, "--out", tmp_path / "out", *at(server)]
        assert "HTTP 403" in call(capsys, *words, code=FAILED)["error"]
        assert not (tmp_path / "out" / "labels.jsonl").exists()
        server.usual = judging()
        assert call(capsys, *words)["labelled"] == 20


def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = lines(tmp_path / "list.jsonl", TEXTS)
    with serving(slow(0.05, judging())) as server:
        words = [listed, "--out", tmp_path / "out", *at(server, "--concurrency", 2)]
        command = [sys.executable, "-m", "quality", "label", *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 60
            while len(server.requests) < 6:
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        said = call(capsys, *words)
        assert said["labelled"] == 20
        assert said["kept"] >= 3
        call(capsys, listed, "--out", tmp_path / "whole", *at(server))
    for name in ("labels.jsonl", "failures.jsonl", "scores.parquet", "labeler.json"):
        found, wanted = (tmp_path / folder / name for folder in ("out", "whole"))
        assert found.read_bytes() == wanted.read_bytes()
