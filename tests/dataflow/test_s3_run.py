"""A run folder, and a source, on a real HTTP S3 server (moto's) on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dataflow.build import build
from dataflow.code import ROOT
from dataflow.recipe.source_models import Source
from dataflow.run import Run
from dataflow.sources import Record, SourceSpec, plan, read
from dataflow.store import Store
from dataflow.verify import verify
from dataflow.why import find_documents, story
from tests.dataflow.corpora import write_corpus, write_recipe
from tests.dataflow.hostile_pictures import WRITERS

KEYS = {"access_key": "test", "secret_key": "secret"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def bucket(endpoint: str) -> Any:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="corpora")
    return client


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=40)
    return folder


def _recipe(corpus: Path, words: int = 20) -> Path:
    """Few tasks: every one is some twenty requests."""
    recipe = write_recipe(corpus, partition_bytes="1MiB", words=words)
    recipe.write_text(recipe.read_text() + "dedup: {near: {bands: 4, rows: 4}}\n")
    return recipe


def _names(bucket: Any, prefix: str) -> set[str]:
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket="corpora", Prefix=prefix)
    keys = {item["Key"] for page in pages for item in page.get("Contents", [])}
    # pyarrow keeps a folder that it emptied as an object of no bytes whose name ends in a slash.
    return {key.removeprefix(prefix) for key in keys if not key.endswith("/")}


@pytest.fixture(scope="module")
def local(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "local"
    build(_recipe(corpus), str(out), show=False)
    return Run.load(Store(str(out)))


@pytest.fixture(scope="module")
def remote(corpus: Path, endpoint: str, bucket: Any) -> Run:
    storage = {"endpoint_url": endpoint, **KEYS}
    # Another recipe was built there before; nothing of it may stay.
    build(_recipe(corpus, words=150), "s3://corpora/runs/small", show=False, storage=storage)
    build(_recipe(corpus), "s3://corpora/runs/small", show=False, storage=storage)
    return Run.load(Store("s3://corpora/runs/small", storage))


def test_a_run_on_s3_is_the_run_on_disk(local: Run, remote: Run, bucket: Any) -> None:
    assert remote.header["logical_root"] == local.header["logical_root"]
    assert remote.header["file_root"] == local.header["file_root"]
    folder = Path(local.store.uri)
    here = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert _names(bucket, "runs/small/") == here - {"journal/lock", "journal/workers"}
    found = verify(remote)
    assert found.problems == []
    assert found.as_json() == verify(local).as_json()


def test_why_answers_from_s3(local: Run, remote: Run) -> None:
    (doc_id,) = find_documents(remote, "copy.txt")
    assert story(remote, doc_id) == story(local, doc_id)


def test_building_again_on_s3_runs_nothing_and_mends_what_is_lost(
    corpus: Path, remote: Run, bucket: Any
) -> None:
    recipe = _recipe(corpus)
    uri, storage = remote.store.uri, remote.store.options
    before = _names(bucket, "runs/small/")
    assert build(recipe, uri, show=False, storage=storage).executed == 0
    remote.store.delete(remote.shards[0].pack.outputs["shard"].path)
    record = remote.partitions[0].read
    remote.store.write(f"journal/records/{record.key[:2]}/{record.key}.json", b'{"torn')
    built = build(recipe, uri, show=False, storage=storage)
    assert built.executed > 0
    assert built.header == remote.header
    assert _names(bucket, "runs/small/") == before
    assert verify(Run.load(remote.store)).problems == []


def test_the_command_line_reads_and_writes_s3_with_the_tools_environment(
    corpus: Path, endpoint: str, bucket: Any, tmp_path: Path
) -> None:
    for name in ("a.jsonl", "b.jsonl.gz"):
        bucket.upload_file(str(corpus / name), "corpora", f"sources/{name}")
    text = _recipe(corpus).read_text()
    text = text.replace("[a.jsonl, b.jsonl.gz]", "['s3://corpora/sources/*']")
    text = text.replace("[notes/]", f"[{corpus}/notes/]")
    recipe = tmp_path / "remote.yaml"
    recipe.write_text(text)
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    script = (
        "import sys, json, shlex; from dataflow.__main__ import main\n"
        "codes = [main(shlex.split(line)) for line in sys.argv[1:]]\n"
        "sys.exit(max(codes))"
    )
    uri = "s3://corpora/runs/cli"
    commands = [
        f"build {recipe} --out {uri} --workers 0 --json",
        f"build {recipe} --out {tmp_path}/here --workers 0 --json",
        f"verify {uri} --json",
        f"why {uri} s3://corpora/sources/a.jsonl --json",
        f"status {uri} --json",
        f"report {uri} --json",
    ]
    done = subprocess.run(
        [sys.executable, "-c", script, *commands],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers = []
    rest = done.stdout
    while rest.strip():
        answer, end = json.JSONDecoder().raw_decode(rest.lstrip())
        rest = rest.lstrip()[end:]
        answers.append(answer)
    built, here, verified, told, status, _ = answers
    assert built["logical_root"] == here["logical_root"] == verified["root_hash"]
    assert verified["ok"]
    assert verified["sources"]["rows"]["documents"]["read"] > 20
    assert told["found"] > 10
    assert status["state"] == "done"


def _outcomes(spec: SourceSpec) -> list[tuple[Any, ...]]:
    """What reading gave, but for the names of files."""
    found = [outcome for part in plan(spec, 1 << 30) for outcome in read(spec, part)]
    return [
        (o.offset, o.text, [i.facts for i in o.images], [(r.number, r.reason) for r in o.refused])
        if isinstance(o, Record)
        else (o.offset, o.reason)
        for o in found
    ]


@pytest.mark.parametrize("name", ["tars", "downloads", "lists", "talks", "pages", "archive"])
def test_images_are_read_from_s3_as_from_disk(
    endpoint: str, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Those in the same object, and those in others that it names."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    made = WRITERS[name](tmp_path)
    for path in tmp_path.iterdir():
        bucket.upload_file(str(path), "corpora", f"pictures/{name}/{path.name}")
    asked = {key: value for key, value in made.recipe.items() if key not in ("fit", "include")}
    include = [f"**/{glob}" for glob in made.recipe.get("include", ["*"])]
    specs = []
    for place in (str(tmp_path), f"s3://corpora/pictures/{name}/"):
        remote = place.startswith("s3")
        storage = {"endpoint_url": endpoint, "region": "us-east-1"} if remote else {}
        given = {"name": name, "paths": [place], "include": include, "storage": storage, **asked}
        specs.append(Source.model_validate(given).spec(tmp_path))
    here, there = map(_outcomes, specs)
    assert there == here
    assert len(here) > 1
