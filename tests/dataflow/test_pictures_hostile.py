"""Bad input with images, through every reader and a whole build: a row each, and it goes on."""

from __future__ import annotations

import importlib.util
import json
import xml.parsers.expat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataflow.__main__ import main
from dataflow.build import build
from dataflow.run import Run
from dataflow.store import Store
from dataflow.tokenizer import train
from dataflow.verify import verify
from tests.dataflow.hostile_pictures import WRITERS, Made
from vl_data.images import MARK


def _write(folder: Path) -> tuple[Path, dict[str, Made]]:
    """All corpora, and a recipe over them."""
    made, sources = {}, []
    for name, writer in WRITERS.items():
        if name == "pdfs" and importlib.util.find_spec("pypdfium2") is None:
            continue  # of the pdf extra; without it its rows say so, which another test holds
        (folder / name).mkdir()
        made[name] = writer(folder / name)
        sources.append({"name": name, "paths": f"{name}/", "max_bad_fraction": 1.0,
                        **made[name].recipe})  # fmt: skip
    train(["What is this? Patches of colour. " * 9], 336, folder / "tokenizer")
    recipe = {
        "name": "hostile", "sources": sources, "language": {"enabled": False},
        "dedup": {"exact": False, "near": {"enabled": False}},
        "tokenizer": {"use": "tokenizer"},
    }  # fmt: skip
    path = folder / "hostile.yaml"
    path.write_text(json.dumps(recipe))
    return path, made


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Made]]:
    """The build, in which nothing may as much as look for a parser of XML."""
    folder = tmp_path_factory.mktemp("hostile")
    recipe, made = _write(folder)

    def parsed(*_: object) -> None:
        raise AssertionError("an image was given to a parser of XML")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xml.parsers.expat, "ParserCreate", parsed)
        patch.setattr("lxml.etree.fromstring", parsed)
        patch.setattr("lxml.etree.parse", parsed)
        build(recipe, str(folder / "run"), workers=0, show=False)
    return Run.load(Store(str(folder / "run"))), made


def _rows(run: Run, role: str) -> list[dict[str, Any]]:
    return [row for p in run.partitions for row in run.table(p.read, role).to_pylist()]


def test_each_fault_is_a_row_with_its_reason(hostile: tuple[Run, dict[str, Made]]) -> None:
    run, made = hostile
    reasons: dict[str, Counter[str]] = {name: Counter() for name in made}
    for row in _rows(run, "unreadable"):
        reasons[row["source"]][row["reason"]] += 1
        assert row["detail"] or row["reason"] == "empty"
    assert reasons == {name: expected.reasons for name, expected in made.items()}
    documents = Counter(row["source"] for row in _rows(run, "documents"))
    assert documents == {name: expected.documents for name, expected in made.items()}


def test_its_laws_hold_and_every_mark_has_its_image(hostile: tuple[Run, dict[str, Made]]) -> None:
    run, made = hostile
    found = verify(run)
    assert found.problems == []
    told = found.as_json()["sources"]
    for name, expected in made.items():
        unreadable = sum(expected.reasons.values())
        assert told[name]["records"] == {
            "seen": unreadable + expected.documents,
            "unreadable": unreadable,
            "read": expected.documents,
        }
        assert told[name]["documents"]["kept"] == expected.documents
    for row in _rows(run, "documents"):
        assert not row["images"] or row["text"].count(MARK) == len(row["images"])


def test_why_tells_of_each(
    hostile: tuple[Run, dict[str, Made]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = hostile
    rows = _rows(run, "unreadable")
    told: list[tuple[str, int, str]] = []
    for uri in sorted({row["uri"].partition("#")[0] for row in rows}):
        assert main(["why", run.store.uri, uri, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        parts = [row for document in answer["documents"] for row in document["left_out"]]
        told += [(r["uri"], r["offset"], r["reason"]) for r in (*answer["unreadable"], *parts)]
        assert main(["why", run.store.uri, uri]) == 0
        words = capsys.readouterr().out
        assert all(f"{r['reason']}: {r['detail'] or ''}" .rstrip(": ") in words
                   for r in (*answer["unreadable"], *parts))  # fmt: skip
    assert sorted(told) == sorted((r["uri"], r["offset"], r["reason"]) for r in rows)
    part = next(row for row in rows if "#image-" in row["uri"])
    assert main(["why", run.store.uri, part["uri"]]) == 0
    assert f"NOT READ    {part['reason']}" in capsys.readouterr().out
    assert main(["why", run.store.uri, "nowhere.tar"]) == 1


def test_the_report_shows_them(hostile: tuple[Run, dict[str, Made]]) -> None:
    run, made = hostile
    page = run.store.read("report.html").decode()
    for expected in made.values():
        for reason in expected.reasons:
            assert reason in page, reason


def test_a_talk_that_is_too_long_ends_with_an_answer(hostile: tuple[Run, dict[str, Made]]) -> None:
    run, _ = hostile
    texts = [row["text"] for row in _rows(run, "documents") if row["source"] == "talks"]
    cut = f"<|user|>{MARK} What is this?<|turn_end|><|assistant|>Patches.<|turn_end|>"
    assert cut in texts
    whole, part = sorted(
        (r for r in _rows(run, "unreadable") if r["reason"] == "over-length"),
        key=lambda row: "#" in row["uri"],
    )
    assert (whole["uri"], part["uri"]) == ("a.json", "a.json#turn-2")
    assert "expected at most 300" in part["detail"]
    talks = {row["doc_id"] for row in _rows(run, "documents") if row["source"] == "talks"}
    for shard in run.shards:
        for row in run.table(shard.tokenize, "index").to_pylist():
            if row["doc_id"] in talks:
                features = sum(image["tokens_tiny56"] - 1 for image in row["images"])
                assert row["tokens"] + features <= 300


@pytest.mark.parametrize(("side", "told"), [(64, False), (65, True)])
def test_a_source_without_a_large_enough_image_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, side: int, told: bool
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    turns = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A patch of one colour, and nothing else is to be seen. " * 9},
    ]
    Image.new("RGB", (64, 64), "teal").save(folder / "0.png")
    line = {"id": "0", "image": "0.png", "conversations": turns}
    (folder / "samples.jsonl").write_text(json.dumps(line))
    (tmp_path / "a.txt").write_text("It was a plain text, of words alone. " * 40)
    small = {"name": "small", "paths": "small/", "include": ["samples.jsonl"], "format": "llava",
             "images": {"min_side": side}}  # fmt: skip
    train(["What is this? Patches of colour. " * 9], 336, tmp_path / "tokenizer")
    recipe = {
        "name": "small", "sources": [small, {"name": "plain", "paths": "a.txt"}],
        "language": {"enabled": False}, "clean": ["control"], "tokenizer": {"use": "tokenizer"},
    }  # fmt: skip
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(recipe))
    build(path, str(tmp_path / "run"), workers=0, show=False)
    expected = (
        "source small: none of its 1 records gives a document (image-too-small 1); see "
        f"{tmp_path}/run/ledger/unreadable; its `images` sets the limits of size: min_side, "
        "max_side, max_aspect"
    )
    assert [r.getMessage() for r in caplog.records if r.name == "dataflow.build"] == (
        [expected] if told else []
    )
