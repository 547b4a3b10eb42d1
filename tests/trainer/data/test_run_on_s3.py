"""Whole runs on a corpus that lies on S3 (a server on loopback): the local run's, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.trainer.loopback import Bucket, loopback_bucket
from dataflow.run import Run
from dataflow.store import Store
from tests.trainer.run.small_runs import LENGTH, MODEL, curve, metrics, stage
from trainer.command import main
from trainer.data import batches
from trainer.data.corpus import READ_BYTES, Corpus
from trainer.run.recorder import Recorder

STEPS = 10


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, loopback_bucket() as bucket:
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        yield bucket


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The small model and stage as files, as the command line takes them."""
    folder = tmp_path_factory.mktemp("recipes")
    paths = []
    for name, recipe in (("first", stage()), ("two-layers", MODEL)):
        # JSON is YAML.
        (folder / f"{name}.yaml").write_bytes(orjson.dumps(recipe.model_dump(mode="json")))
        paths.append(str(folder / f"{name}.yaml"))
    return paths[0], paths[1]


@pytest.fixture
def little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little is read ahead that not the whole run has been, when an object disappears."""
    monkeypatch.setattr(batches, "AHEAD_REMOTE", 1)


@pytest.fixture
def run(recipes: tuple[str, str]) -> Callable[..., int]:
    def run(corpus: object, out: Path, *more: object) -> int:
        first, model = recipes
        arguments = [
            "run", "--stage", first, "--model", model, "--corpus", corpus, "--out", out,
            "--micro-batch", 2 * LENGTH, "--deterministic", "--scale", 1, "--save-every", 4,
            "--json", *more,
        ]  # fmt: skip
        return main([str(one) for one in arguments])

    return run


@pytest.fixture(scope="module")
def steady(built_run: Path, recipes: tuple[str, str], tmp_path_factory: Any) -> Path:
    """A run on the local corpus."""
    out: Path = tmp_path_factory.mktemp("steady") / "first"
    first, model = recipes
    arguments = [
        "run", "--stage", first, "--model", model, "--corpus", str(built_run), "--out", str(out),
        "--micro-batch", str(2 * LENGTH), "--deterministic", "--scale", "1",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert len(curve(out)) == STEPS
    return out


def test_a_run_on_s3_has_the_local_runs_losses(
    bucket: Bucket, built_run: Path, steady: Path, tmp_path: Path, run: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    opened: list[Corpus] = []
    written = Recorder.step

    def remember(recorder: Recorder, *rest: Any, **named: Any) -> None:
        written(recorder, *rest, **named)
        opened.append(recorder._corpus)

    monkeypatch.setattr(Recorder, "step", remember)
    uri = bucket.upload(built_run, "whole")
    assert run(uri, tmp_path / "first") == 0
    assert curve(tmp_path / "first") == curve(steady)
    names = [path.relative_to(steady) for path in sorted(steady.glob("plans/**/*.*"))]
    assert names
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (steady / name).read_bytes()
    corpus = opened[-1]
    shards = len(corpus.run.shards)
    assert corpus.bytes_read < READ_BYTES
    # Of small shards each is one read: no step makes more reads than there are shards.
    assert STEPS <= corpus.range_reads <= STEPS * shards
    assert all(line["wait_seconds"] >= 0 for line in metrics(tmp_path / "first"))


def deleting(bucket: Bucket, prefix: str, built_run: Path, after: int) -> Callable[..., None]:
    """``Recorder.step`` that deletes a shard of train documents from S3 after a step."""
    written = Recorder.step
    path = shard_of(built_run, 0)

    def step(recorder: Recorder, now: Any, *rest: Any, **named: Any) -> None:
        written(recorder, now, *rest, **named)
        if now.step + 1 == after:
            bucket.client().delete_object(Bucket=bucket.name, Key=f"{prefix}/{path}")

    return step


def shard_of(built_run: Path, number: int) -> str:
    found: str = Run.load(Store(str(built_run))).shards[number].tokenize.outputs["shard"].path
    return found


@pytest.mark.usefixtures("little_ahead")
def test_an_object_that_disappears_is_skipped_and_said(
    bucket: Bucket, built_run: Path, steady: Path, tmp_path: Path, run: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    uri = bucket.upload(built_run, "fading")
    out = tmp_path / "first"
    monkeypatch.setattr(Recorder, "step", deleting(bucket, "fading", built_run, after=3))
    assert run(uri, out, "--on-bad-shard", "skip") == 0
    found, expected = curve(out), curve(steady)
    assert len(found) == STEPS
    assert found[:3] == expected[:3]
    assert found != expected
    assert "cannot be read" in caplog.text
    assert shard_of(built_run, 0) in caplog.text
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    skipped = [line["step"] for line in steps if line.get("skipped")]
    assert skipped
    assert min(skipped) > 3
    whole = {line["step"]: line["labels"] for line in metrics(steady)}
    for line in metrics(out):
        if line["step"] in skipped:
            assert line["labels"] < whole[line["step"]]
        else:
            assert line["labels"] == whole[line["step"]]


@pytest.mark.usefixtures("little_ahead")
def test_an_object_that_disappears_stops_the_run_which_goes_on_when_it_is_back(
    bucket: Bucket, built_run: Path, steady: Path, tmp_path: Path, run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    uri = bucket.upload(built_run, "gone")
    out, path = tmp_path / "first", shard_of(built_run, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "step", deleting(bucket, "gone", built_run, after=5))
        assert run(uri, out, "--save-every", 1) == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["ok"] is False
    assert f"s3://corpora/gone/{path}: cannot be read" in answer["error"]
    assert 5 <= len(curve(out)) < STEPS
    bucket.client().upload_file(str(built_run / path), bucket.name, f"gone/{path}")
    assert run(uri, out, "--resume") == 0
    assert curve(out) == curve(steady)


def test_a_changed_object_is_known_by_its_hash(
    bucket: Bucket, built_run: Path, tmp_path: Path, run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    uri = bucket.upload(built_run, "changed")
    path = shard_of(built_run, 0)
    data = bytearray((built_run / path).read_bytes())
    data[700] ^= 1
    bucket.client().put_object(Bucket=bucket.name, Key=f"changed/{path}", Body=bytes(data))
    assert run(uri, tmp_path / "first") == 1
    assert f"{path}: found BLAKE3" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    # One id is another: nothing that a length shows.
    assert run(uri, tmp_path / "second", "--verify", "size") == 0


@pytest.mark.parametrize("option", ["--out", "--start-from"])
def test_a_runs_own_folder_is_local(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("s3://corpora/whole", tmp_path, option, "s3://corpora/runs/first")
    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"argument {option}: found 's3://corpora/runs/first', expected a local folder" in told
