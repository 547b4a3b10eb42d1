"""The whole build on small input: laws, roots, resume, and what each command answers."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pytest
import webdataset

from dataflow import arrays, external, graph, shardroots, windows
from dataflow.__main__ import main
from dataflow.build import build
from dataflow.journal import Journal
from dataflow.locks import BuildError
from dataflow.retokenize import retokenize
from dataflow.run import Run, RunError
from dataflow.steps import order
from dataflow.store import Store
from dataflow.tokenizer import Tokenizer, train
from dataflow.verify import verify
from dataflow.why import NotFound, find_documents, story
from tests.dataflow.corpora import sentence_text, write_corpus, write_recipe

QUERIES = Path(__file__).resolve().parents[2] / "docs" / "queries.sql"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "small"
    build(write_recipe(corpus), str(out), show=False)
    return Run.load(Store(str(out)))


def _copy(run: Run, folder: Path) -> Run:
    shutil.copytree(Path(run.store.uri), folder / "run")
    return Run.load(Store(str(folder / "run")))


def _rows(run: Run, step: str, role: str) -> list[dict[str, Any]]:
    records = [getattr(partition, step) for partition in run.partitions]
    return [row for record in records for row in run.table(record, role).to_pylist()]


def test_a_run_verifies_and_its_laws_hold(run: Run) -> None:
    found = verify(run)
    assert found.problems == []
    told = found.as_json()
    assert told["ok"]
    assert told["root_hash"] == run.header["logical_root"]
    assert told["file_root"] == run.header["file_root"]
    records, documents, sizes = told["records"], told["documents"], told["bytes"]
    assert records["seen"] == records["unreadable"] + records["read"]
    assert documents["read"] == records["read"] == documents["kept"] + documents["dropped"]
    assert sizes["read"] + sizes["inserted"] == sizes["kept"] + sizes["dropped"] + sizes["removed"]
    assert sizes["removed"] == 8  # four notes with a NUL and a bell each
    assert set(told["sources"]) == {"rows", "notes"}
    assert told["sources"]["notes"]["documents"]["read"] == 13
    # Six bad lines, one empty file.
    assert records["unreadable"] == 7


def test_copies_go_and_their_survivors_stay(run: Run) -> None:
    rows = {row["doc_id"]: row for row in _rows(run, "settle", "dispositions")}
    rules = Counter(row["rule"] for row in rows.values() if not row["kept"])
    # Each tenth text has an exact copy, and one more is a note; each seventh has a near copy.
    assert rules["exact"] == 13
    assert rules["near"] == 18
    for row in rows.values():
        if row["survivor"] is not None:
            survivor = rows[row["survivor"]]
            assert survivor["kept"]
            assert survivor["cluster"] == row["cluster"] is not None
            if row["rule"] == "near":
                assert 0.8 == row["threshold"] <= row["value"] < 1


def test_the_source_of_higher_priority_survives_a_tie(run: Run) -> None:
    (copy,) = (story(run, d) for d in find_documents(run, "copy.txt"))
    assert copy["disposition"]["kept"]


def test_shards_hold_what_the_index_says(run: Run) -> None:
    documents = {row["doc_id"]: row for row in _rows(run, "read", "documents")}
    spans = {row["doc_id"] for row in _rows(run, "settle", "spans")}
    tokenizer = Tokenizer.load(
        Path(run.store.uri) / Path(run.tokenizer.outputs["card"].path).parent
    )
    seen = set()
    for shard in run.shards:
        content = run.store.read(shard.pack.outputs["shard"].path)
        tokens = run.store.read(shard.tokenize.outputs["shard"].path)
        for row in run.table(shard.tokenize, "index").to_pylist():
            text = content[row["text_offset"] : row["text_offset"] + row["text_bytes"]].decode()
            original = documents[row["doc_id"]]["text"]
            if row["doc_id"] in spans:
                original = original.replace("\0", "").replace("\x07", "")
            assert text == original
            end = row["token_offset"] + row["tokens"] * 2
            ids = [
                int.from_bytes(tokens[i : i + 2], "little")
                for i in range(row["token_offset"], end, 2)
            ]
            assert ids == [*tokenizer.encode(text).tolist(), tokenizer.eod]
            assert row["shard"].startswith(row["split"])
            assert row["doc_id"] not in seen
            seen.add(row["doc_id"])
    kept = {row["doc_id"] for row in _rows(run, "settle", "dispositions") if row["kept"]}
    assert seen == kept


def test_stock_webdataset_reads_both_sets(run: Run) -> None:
    texts: dict[str, dict[str, Any]] = {}
    ids: dict[str, dict[str, Any]] = {}
    for shard in run.shards:
        folder = Path(run.store.uri)
        for record, into in ((shard.pack, texts), (shard.tokenize, ids)):
            url = str(folder / record.outputs["shard"].path)
            for sample in webdataset.WebDataset(url, shardshuffle=False).decode():
                into[sample["__key__"]] = sample
    assert texts.keys() == ids.keys()
    for key, sample in texts.items():
        described = sample["json"]["documents"]
        assert sum(described["bytes"]) == len(sample["txt"].encode())
        assert len(ids[key]["offsets.npy"]) == len(described["id"]) + 1


def test_near_duplicates_are_on_one_side_of_the_split(run: Run) -> None:
    sides: dict[bytes, set[str]] = {}
    for shard in run.shards:
        for row in run.table(shard.tokenize, "index").to_pylist():
            sides.setdefault(row["cluster"] or row["doc_id"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "heldout"} == set().union(*sides.values())


def test_why_tells_every_kind_of_story(run: Run) -> None:
    for row in _rows(run, "settle", "dispositions"):
        told = story(run, row["doc_id"])
        assert told["disposition"]["kept"] == row["kept"]
        assert (told["index"] is not None) == row["kept"]
        assert ("survivor" in told) == (row["survivor"] is not None)
        json.dumps(told)
        assert row["doc_id"] in find_documents(run, told["document"]["uri"])
    with pytest.raises(NotFound, match=r"no-such\.txt: found no document"):
        find_documents(run, "no-such.txt")
    with pytest.raises(NotFound):
        find_documents(run, "00" * 16)


def test_building_again_runs_nothing(run: Run, corpus: Path) -> None:
    again = build(write_recipe(corpus), run.store.uri, show=False)
    assert again.executed == 0
    assert again.header == run.header


def test_roots_do_not_depend_on_memory(
    corpus: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sort spills runs, every walk takes many windows, every shard is cut into several."""
    monkeypatch.setattr(graph, "ORDER_MEMORY", 1)
    monkeypatch.setattr(graph, "DEDUP_MEMORY", 1)
    monkeypatch.setattr(arrays, "WINDOW_BYTES", 4096)
    monkeypatch.setattr(arrays, "WINDOW_ROWS", 16)
    monkeypatch.setattr(order, "WINDOW_ROWS", 16)
    monkeypatch.setattr(windows, "WINDOW_BYTES", 1000)
    monkeypatch.setattr(shardroots, "BATCH_ROWS", 3)
    monkeypatch.setattr(external, "LEAST_RUN", 8)
    made = build(write_recipe(corpus), str(tmp_path / "run"), show=False)
    assert made.header["logical_root"] == run.header["logical_root"]
    assert made.header["file_root"] == run.header["file_root"]
    assert verify(Run.load(Store(str(tmp_path / "run")))).problems == []


def test_roots_depend_on_neither_folder_nor_partitions(
    run: Run, corpus: Path, tmp_path: Path
) -> None:
    same = build(write_recipe(corpus), str(tmp_path / "same"), show=False)
    assert same.header["logical_root"] == run.header["logical_root"]
    assert same.header["file_root"] == run.header["file_root"]
    cut = build(write_recipe(corpus, partition_bytes="100KiB"), str(tmp_path / "cut"), show=False)
    assert len(cut.header["partitions"]) < len(run.header["partitions"])
    assert cut.header["logical_root"] == run.header["logical_root"]


def test_ray_workers_build_the_same_run(run: Run, corpus: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "ray")
    built = build(write_recipe(corpus), out, workers=2, show=False)
    assert built.header["logical_root"] == run.header["logical_root"]
    assert built.header["file_root"] == run.header["file_root"]
    assert verify(Run.load(Store(out))).problems == []


def test_a_changed_threshold_reads_nothing_again_and_leaves_nothing_behind(
    run: Run, corpus: Path, tmp_path: Path
) -> None:
    copied = _copy(run, tmp_path)
    changed = build(write_recipe(corpus, words=120), copied.store.uri, show=False)
    progress = orjson.loads(copied.store.read("journal/progress.json"))
    steps = {step["step"] for step in progress["steps"]}
    assert "decide" in steps
    assert not steps & {"read", "language"}
    assert changed.header["logical_root"] != run.header["logical_root"]
    fresh = build(write_recipe(corpus, words=120), str(tmp_path / "fresh"), show=False)
    assert fresh.header["file_root"] == changed.header["file_root"]

    def files(folder: Path) -> set[str]:
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        return {f for f in found if not f.startswith("journal/")}

    assert files(Path(copied.store.uri)) == files(tmp_path / "fresh")
    assert verify(Run.load(copied.store)).problems == []


def test_verify_finds_a_flipped_byte_and_a_lost_file(run: Run, tmp_path: Path) -> None:
    copied = _copy(run, tmp_path)
    path = copied.shards[0].pack.outputs["shard"].path
    data = bytearray(copied.store.read(path))
    data[700] ^= 1
    copied.store.write(path, bytes(data))
    lost = copied.partitions[0].settle.outputs["spans"].path
    copied.store.delete(lost)
    problems = verify(copied).problems
    assert any(p.startswith(path) for p in problems)
    assert any(p.startswith(lost) for p in problems)


def test_a_lost_output_is_made_again(run: Run, corpus: Path, tmp_path: Path) -> None:
    copied = _copy(run, tmp_path)
    copied.store.delete(copied.partitions[0].settle.outputs["spans"].path)
    copied.store.write(copied.shards[0].pack.outputs["shard"].path, b"short")
    built = build(write_recipe(corpus), copied.store.uri, show=False)
    assert built.executed > 0
    assert built.header == run.header
    assert verify(Run.load(copied.store)).problems == []


def test_retokenize_writes_tokens_only(run: Run, tmp_path: Path) -> None:
    copied = _copy(run, tmp_path)
    generator = np.random.default_rng(1)
    train([sentence_text(generator, 50) for _ in range(20)], 520, tmp_path / "other")
    before = {s.name: s.pack.outputs["shard"].blake3 for s in copied.shards}
    done = retokenize(copied.store, tmp_path / "other")
    after = Run.load(copied.store)
    assert {s.name: s.pack.outputs["shard"].blake3 for s in after.shards} == before
    assert done["tokenizer"] == Tokenizer.load(tmp_path / "other").hash
    assert done["logical_root"] == after.header["logical_root"] != run.header["logical_root"]
    assert verify(after).problems == []
    assert len(list((tmp_path / "run" / "index").glob("*.parquet"))) == len(after.shards)


def test_held_out_documents_stay_so_in_the_next_run(run: Run, corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, held_out=0.5)
    text = recipe.read_text().replace("held_out: 0.5", f"held_out: 0.5, previous: {run.store.uri}")
    recipe.write_text(text)
    build(recipe, str(tmp_path / "next"), show=False)
    write_recipe(corpus)
    following = Run.load(Store(str(tmp_path / "next")))

    def sides(which: Run) -> dict[bytes, str]:
        return {
            row["content_id"]: row["split"]
            for shard in which.shards
            for row in which.table(shard.tokenize, "index").to_pylist()
        }

    assert sides(following) == sides(run)


def test_too_many_bad_records_stop_the_build(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, bad=0.001)
    try:
        with pytest.raises(BuildError, match=r"source rows: 6 of \d+ records are bad"):
            build(recipe, str(tmp_path / "bad"), show=False)
    finally:
        write_recipe(corpus)


def test_one_builder_a_folder(run: Run, corpus: Path) -> None:
    from dataflow.locks import only_builder

    with only_builder(run.store), pytest.raises(BuildError, match="another build is working"):
        build(write_recipe(corpus), run.store.uri, show=False)


def test_documented_queries_run_in_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.store.uri)
    queries = [q for q in QUERIES.read_text().split(";") if q.strip()]
    assert len(queries) == 10
    connection = duckdb.connect()
    answers = [connection.execute(query).fetchall() for query in queries]
    assert all(row[1] and row[2] for row in answers[1])
    kept = sum(1 for row in _rows(run, "settle", "dispositions") if row["kept"])
    assert sum(row[3] for row in answers[3]) == kept


def test_commands_answer_and_exit_as_documented(
    run: Run, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        return code, capsys.readouterr().out

    folder = run.store.uri
    assert call("verify", folder, "--json")[0] == 0
    code, out = call("why", folder, "copy.txt", "--json")
    assert code == 0
    assert json.loads(out)["found"] == 1
    assert call("why", folder, "nothing", "--json")[0] == 1
    code, out = call("status", folder, "--json")
    assert (code, json.loads(out)["state"]) == (0, "done")
    assert call("report", folder)[0] == 0
    code, out = call("check", str(write_recipe(corpus)), "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((corpus / "recipe.yaml").read_text().replace("text.words", "text.wrods"))
    code, out = call("build", str(wrong), "--out", str(tmp_path / "x"), "--json")
    assert code == 2
    assert "text.words" in [p["nearest"] for p in json.loads(out)["problems"]]
    code, out = call("check", str(corpus / "recip.yaml"), "--json")
    assert code == 2
    assert "did you mean" in json.loads(out)["error"]
    assert call("verify", str(tmp_path / "nowhere"))[0] == 1
    with pytest.raises(SystemExit) as stopped:
        main(["build"])
    assert stopped.value.code == 2


def test_an_unfinished_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a finished run"):
        Run.load(Store(str(tmp_path)))


def test_no_record_of_a_finished_run_is_missing(run: Run) -> None:
    journal = Journal(run.store)
    for partition in run.partitions:
        assert journal.get(partition.read.key) == partition.read
