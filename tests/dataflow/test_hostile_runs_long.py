"""Builds on full disks, over damaged folders, with files that come and go, and of odd input."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import pytest

from dataflow.build import build
from dataflow.code import ROOT
from dataflow.retokenize import retokenize
from dataflow.run import Run
from dataflow.store import Store
from dataflow.verify import verify
from dataflow.why import find_documents, story
from tests.dataflow.corpora import sentence_text, write_corpus, write_recipe
from tests.dataflow.run_tools import (
    check,
    contents,
    done_tasks,
    run_build,
    start_build,
    wait_until,
)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=200, seed=3)
    return write_recipe(folder, partition_bytes="32KiB")


@pytest.fixture(scope="module")
def quiet(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "quiet"
    build(recipe, str(out), show=False)
    check(out)
    return out


def _logical_root(run: Path) -> str:
    return str(check(run).header["logical_root"])


def _unreadable(run: Run) -> list[dict[str, object]]:
    return [row for p in run.partitions for row in run.table(p.read, "unreadable").to_pylist()]


# ---- more of it, and cut otherwise ---------------------------------------------------------------


def test_one_root_whatever_the_workers_partitions_folder_and_hash_seed(tmp_path: Path) -> None:
    roots = set()
    matrix = [(0, "8KiB", "0"), (0, "64KiB", "1"), (1, "16KiB", "2"), (2, "8KiB", "random"),
              (2, "1MiB", "7"), (0, "1MiB", "random")]  # fmt: skip
    for number, (workers, size, seed) in enumerate(matrix):
        folder = tmp_path / f"place{number % 2}"
        write_corpus(folder, documents=150, seed=9)
        recipe = write_recipe(folder, partition_bytes=size)
        out = tmp_path / f"run{number}"
        code, _, errors = run_build(recipe, out, workers, {"PYTHONHASHSEED": seed})
        assert code == 0, errors
        roots.add(_logical_root(out))
    assert len(roots) == 1


def test_ten_times_the_input(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=4000, seed=1)
    recipe = write_recipe(tmp_path, partition_bytes="256KiB")
    recipe.write_text(recipe.read_text().replace("shard_bytes: 64KiB", "shard_bytes: 512KiB"))
    code, _, errors = run_build(recipe, tmp_path / "run", workers=2)
    assert code == 0, errors
    run = check(tmp_path / "run")
    told = verify(run).as_json()
    lines = (tmp_path / "a.jsonl").read_text().count("\n")
    assert told["records"]["seen"] > 2 * lines - 2
    assert told["documents"]["dropped"] > 4000 // 10 + 4000 // 7 - 50
    assert told["records"]["unreadable"] == 2 * 100 + 1
    for uri in ("copy.txt", "note07.txt"):
        (doc_id, *_) = find_documents(run, uri)
        assert story(run, doc_id)["doc_id"] == doc_id.hex()


# ---- disks and folders ---------------------------------------------------------------------------

FULL_DISK = """
import json, subprocess, sys
mount, recipe, workers, *sizes = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={sizes[0]}", "leyden", mount], check=True)
told = []
for size in sizes:
    subprocess.run(["mount", "-o", f"remount,size={size}", mount], check=True)
    command = [sys.executable, "-m", "dataflow", "build", recipe, "--out", mount + "/run"]
    done = subprocess.run([*command, "--workers", workers], capture_output=True, text=True)
    told.append((size, done.returncode, done.stderr))
command = [sys.executable, "-m", "dataflow", "verify", mount + "/run", "--json"]
verified = subprocess.run(command, capture_output=True, text=True)
subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
command = [sys.executable, "-m", "dataflow", "build", recipe, "--out", mount + "/other"]
refused = subprocess.run([*command, "--workers", "0"], capture_output=True, text=True)
print(json.dumps([told, json.loads(verified.stdout), [refused.returncode, refused.stderr]]))
"""


def _needs_namespaces() -> None:
    found = shutil.which("unshare")
    if found is None:
        pytest.skip("there is no `unshare` (Debian package util-linux) to mount a small disk with")
    tried = subprocess.run([found, "-Urm", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody make a user namespace: {tried.stderr.strip()}")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_told_and_the_build_goes_on_when_there_is_room(
    recipe: Path, quiet: Path, tmp_path: Path, workers: int
) -> None:
    _needs_namespaces()
    mount = tmp_path / "disk"
    mount.mkdir()
    sizes = ["192k", "512k", "900k", "1500k"] if workers == 0 else ["700k", "1400k"]
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-c", FULL_DISK, str(mount), str(recipe),
         str(workers), *sizes, "200m"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, verified, refused = json.loads(done.stdout)
    *failed, (_, code, errors) = told
    assert code == 0, errors
    for size, code, errors in failed:
        assert code == 1, (size, errors)
        assert "No space left on device" in errors, (size, errors)
        assert "Traceback" not in errors
    steps = ("read", "scan", "language", "decide", "order", "buckets", "shingles", "near",
             "settle", "pack", "tokenize")  # fmt: skip
    named = [e for _, _, e in failed if any(e.startswith(f"error: {step} ") for step in steps)]
    assert len(named) >= len(failed) - 1, failed
    assert verified["ok"]
    assert verified["root_hash"] == _logical_root(quiet)
    assert refused[0] == 1
    assert "Read-only file system" in refused[1]
    assert "cannot be a run folder" in refused[1]


def test_a_file_in_place_of_the_run_folder(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    code, _, errors = run_build(recipe, tmp_path / "run")
    assert code == 1
    assert "cannot be a run folder" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "run").read_text() == "not a folder"


def test_two_builds_of_one_folder_at_once(recipe: Path, quiet: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = start_build(recipe, out, 2)
    assert wait_until(lambda: (out / "journal" / "progress.json").exists(), 60)
    second, _, errors = run_build(recipe, out)
    assert second == 1
    assert "another build is working on this run folder" in errors
    _, first_errors = first.communicate(timeout=120)
    assert first.returncode == 0, first_errors
    assert contents(out) == contents(quiet)


# ---- sources that change -------------------------------------------------------------------------


def _notes(folder: Path, count: int) -> Path:
    """A recipe of many partitions over ``count`` notes."""
    folder.mkdir()
    generator = np.random.default_rng(17)
    (folder / "notes").mkdir()
    for number in range(count):
        (folder / "notes" / f"n{number:03d}.txt").write_text(sentence_text(generator, 40))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: notes\n"
        "sources: [{name: notes, paths: [notes/], max_bad_fraction: 1.0}]\n"
        "tokenizer: {train: {vocab_size: 512}}\n"
        "pack: {shard_bytes: 256KiB}\n"
        "build: {partition_bytes: 4KiB}\n"
    )
    return recipe


def test_files_that_vanish_midway_are_rows_and_are_read_when_they_are_back(tmp_path: Path) -> None:
    recipe = _notes(tmp_path / "corpus", 160)
    build(recipe, str(tmp_path / "whole"), show=False)
    out = tmp_path / "run"
    process = start_build(recipe, out, 0)
    assert wait_until(lambda: (out / "documents").exists(), 60)
    away = tmp_path / "away"
    away.mkdir()
    notes = sorted((tmp_path / "corpus" / "notes").iterdir())[-30:]
    for note in notes[::2]:
        note.rename(away / note.name)
    changed = notes[-1].read_bytes(), notes[-1].stat()
    notes[-1].write_text("The file is another one now, and longer or shorter than it was before.")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    run = check(out)
    rows = _unreadable(run)
    assert {row["reason"] for row in rows} == {"vanished", "changed"}
    assert len(rows) == 16
    assert verify(run).as_json()["records"]["read"] == 160 - 16
    # They come back as they were, time stamps and all: the plan is the same as before.
    for note in notes[::2]:
        (away / note.name).rename(note)
    notes[-1].write_bytes(changed[0])
    os.utime(notes[-1], ns=(changed[1].st_atime_ns, changed[1].st_mtime_ns))
    code, _, errors = run_build(recipe, out)
    assert code == 0, errors
    assert check(out).header == check(tmp_path / "whole").header
    assert done_tasks(out)["read"] < 40
    assert contents(out) == contents(tmp_path / "whole")


def test_of_a_source_that_changes_only_its_partitions_are_read_again(tmp_path: Path) -> None:
    recipe = _notes(tmp_path / "corpus", 40)
    out = tmp_path / "run"
    built = build(recipe, str(out), show=False)
    note = tmp_path / "corpus" / "notes" / "n017.txt"
    note.write_text(note.read_text() + "\nA line more than there was.")
    again = build(recipe, str(out), show=False)
    assert again.header["logical_root"] != built.header["logical_root"]
    done = done_tasks(out)
    # Band keys are not kept, so that the cheap scan is made again; text is not.
    assert done["read"] == done["language"] == 1
    build(recipe, str(tmp_path / "fresh"), show=False)
    assert check(out).header == check(tmp_path / "fresh").header
    assert contents(out) == contents(tmp_path / "fresh")


# ---- damage --------------------------------------------------------------------------------------


def _healed(run: Path, expected: dict[str, bytes]) -> None:
    """All is as before, but for lost records of temporary files that nothing needed again."""
    found = contents(run)
    lost = expected.keys() - found.keys()
    assert all(name.startswith("journal/records/") for name in lost)
    assert found == {name: data for name, data in expected.items() if name not in lost}


def test_damaged_records_are_no_records(recipe: Path, quiet: Path, tmp_path: Path) -> None:
    generator = random.Random(2)
    expected = contents(quiet)
    for number in range(4):
        out = tmp_path / f"run{number}"
        shutil.copytree(quiet, out)
        records = sorted((out / "journal" / "records").rglob("*.json"))
        for record in generator.sample(records, generator.randint(1, len(records) // 2)):
            data = bytearray(record.read_bytes())
            kind = generator.randrange(4)
            if kind == 0:
                record.write_bytes(data[: generator.randrange(len(data))])
            elif kind == 1:
                data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
                record.write_bytes(data)
            elif kind == 2:
                record.unlink()
            else:
                record.write_bytes(b"")
        for name in ("keys.json", "run.json", "progress.json", "summary.json"):
            path = out / "journal" / name
            if generator.random() < 0.5:
                path.write_bytes(path.read_bytes()[: generator.randrange(40)])
        code, _, errors = run_build(recipe, out)
        assert code == 0, errors
        check(out)
        _healed(out, expected)
        shutil.rmtree(out)


def test_a_damaged_folder_is_told_by_every_command(quiet: Path, tmp_path: Path) -> None:
    shutil.copytree(quiet, tmp_path / "run")
    for name, command in (("run.json", "verify"), ("progress.json", "status")):
        (tmp_path / "run" / "journal" / name).write_bytes(b'{"torn')
        done = subprocess.run(
            [sys.executable, "-m", "dataflow", command, str(tmp_path / "run")],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert f"{name} is damaged" in done.stderr
        assert "Traceback" not in done.stderr


def test_lost_files_are_made_again(recipe: Path, quiet: Path, tmp_path: Path) -> None:
    generator = random.Random(4)
    expected = contents(quiet)
    out = tmp_path / "run"
    shutil.copytree(quiet, out)
    for _ in range(4):
        files = [p for p in sorted(out.rglob("*")) if p.is_file() and p.parent.name != "journal"]
        for path in generator.sample(files, generator.randint(1, 12)):
            if generator.random() < 0.5:
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        code, _, errors = run_build(recipe, out)
        assert code == 0, errors
        check(out)
        _healed(out, expected)


def test_verify_names_the_file_of_every_flipped_byte(
    recipe: Path, quiet: Path, tmp_path: Path
) -> None:
    generator = random.Random(6)
    out = tmp_path / "run"
    shutil.copytree(quiet, out)
    run = Run.load(Store(str(out)))
    paths = [p for p in contents(out) if not p.startswith(("journal/", "report.html"))]
    for path in generator.sample(paths, min(50, len(paths))):
        file = out / path
        data = bytearray(file.read_bytes())
        if not data:
            continue
        at = generator.randrange(len(data))
        data[at] ^= 1 << generator.randrange(8)
        before = file.read_bytes()
        file.write_bytes(data)
        problems = verify(run).problems
        assert any(problem.startswith(path) for problem in problems) or (
            path == "manifest.parquet" and problems
        ), (path, at, problems)
        file.write_bytes(before)
    # What it says to do, helps.
    path = run.shards[0].pack.outputs["shard"].path
    (out / path).write_bytes(b"\0" * (out / path).stat().st_size)
    assert any(problem.startswith(path) for problem in verify(run).problems)
    (out / path).unlink()
    assert run_build(recipe, out)[0] == 0
    assert contents(out) == contents(quiet)


def test_a_folder_that_served_other_recipes(tmp_path: Path) -> None:
    generator = random.Random(8)
    corpus = tmp_path / "corpus"
    write_corpus(corpus, documents=150, seed=5)
    out = tmp_path / "run"
    plain = write_recipe(corpus).read_text()
    others = [
        plain.replace("min: 20", "min: 150"),
        plain.replace("shard_bytes: 64KiB", "shard_bytes: 16KiB"),
        plain.replace("partition_bytes: 16KiB", "partition_bytes: 50KiB"),
        plain.replace("vocab_size: 512", "vocab_size: 600") + "dedup: {exact: false}\n",
        plain + "dedup: {near: {bands: 5, rows: 5}}\n",
    ]
    recipe = corpus / "recipe.yaml"
    for text in [generator.choice(others) for _ in range(7)]:
        recipe.write_text(text)
        process = start_build(recipe, out, 0)
        # Some come to their end, some are killed on the way.
        if generator.random() < 0.7:
            time.sleep(generator.uniform(1.5, 4.0))
            process.kill()
        process.communicate()
    recipe.write_text(plain)
    assert run_build(recipe, out)[0] == 0
    assert run_build(recipe, tmp_path / "fresh")[0] == 0
    assert check(out).header == check(tmp_path / "fresh").header
    assert contents(out) == contents(tmp_path / "fresh")


def test_the_same_tokenizer_again_and_another_and_back(quiet: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(quiet, out)
    store = Store(str(out))
    before = Run.load(store)
    own = tmp_path / "own"
    shutil.copytree((out / before.tokenizer.outputs["card"].path).parent, own)
    other = ROOT / "recipes" / "tokenizers" / "quickstart-32k"
    for folder in (own, own, other, own):
        retokenize(store, folder)
        check(out)
    assert Run.load(store).header["logical_root"] == before.header["logical_root"]
    assert len(list((out / "shards").glob("tokens-*"))) == 1


# ---- odd input -----------------------------------------------------------------------------------


def _odd(folder: Path, sources: str, rules: str = "") -> Path:
    recipe = folder / "recipe.yaml"
    tokenizer = ROOT / "recipes" / "tokenizers" / "quickstart-32k"
    recipe.write_text(
        f"name: odd\nsources:\n{sources}{rules}tokenizer: {{use: {tokenizer}}}\nclean: [control]\n"
    )
    return recipe


def _source(name: str, path: str, rest: str = "") -> str:
    return f"  - {{name: {name}, paths: [{path}], max_bad_fraction: 1.0{rest}}}\n"


def _finish(recipe: Path, kept: int, dropped: int) -> Run:
    out = recipe.parent / "run"
    code, _, errors = run_build(recipe, out)
    assert code == 0, errors
    run = check(out)
    told = verify(run).as_json()["documents"]
    assert (told["kept"], told["dropped"]) == (kept, dropped)
    assert "<html" in (out / "report.html").read_text()
    assert "nothing to do" in run_build(recipe, out)[1]
    return run


def test_a_single_document(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("The only document there is.")
    run = _finish(_odd(tmp_path, _source("one", "one.txt")), 1, 0)
    assert len(run.shards) == 1


def test_no_document_at_all(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    (tmp_path / "void.txt").write_text("")
    sources = _source("rows", "none.jsonl") + _source("notes", "void.txt")
    assert _finish(_odd(tmp_path, sources), 0, 0).shards == []


def test_one_source_of_two_is_empty(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    (tmp_path / "one.txt").write_text("The only document there is.")
    sources = _source("rows", "none.jsonl") + _source("notes", "one.txt")
    run = _finish(_odd(tmp_path, sources), 1, 0)
    assert verify(run).as_json()["sources"]["rows"]["documents"]["read"] == 0


def test_every_document_is_dropped(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=30)
    sources = _source("rows", "a.jsonl", ", rules: strict")
    rules = "rules: {strict: [{signal: text.words, min: 1000000}]}\n"
    documents = sum('"id"' in line for line in (tmp_path / "a.jsonl").read_text().splitlines())
    run = _finish(_odd(tmp_path, sources, rules), 0, documents)
    assert run.shards == []
    (doc_id, *_) = find_documents(run, "a.jsonl")
    assert story(run, doc_id)["disposition"]["rule"] == "text.words"


def test_training_a_tokenizer_on_nothing_is_a_clear_error(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=30)
    code, _, errors = run_build(write_recipe(tmp_path, words=100_000), tmp_path / "run")
    assert code == 1
    assert errors.startswith("error: tokenizer tokenizer: ")
    assert "give more text" in errors


def test_a_document_of_fifty_million_characters_among_others(tmp_path: Path) -> None:
    generator = np.random.default_rng(12)
    small = [sentence_text(generator, 20) for _ in range(20)]
    block = sentence_text(generator, 2000)
    large = "\n".join(f"{number} {block}" for number in range(50_000_000 // len(block) + 1))
    assert len(large) >= 50_000_000
    one_word = "ж" * 50_000_000
    with (tmp_path / "rows.jsonl").open("wb") as out:
        for number, text in enumerate([*small[:10], large, *small[10:], one_word]):
            out.write(orjson.dumps({"text": text, "id": number}) + b"\n")
    recipe = _odd(tmp_path, _source("rows", "rows.jsonl"))
    run = _finish(recipe, 22, 0)
    told = verify(run).as_json()["bytes"]
    assert told["kept"] == sum(len(t) for t in small) + len(large) + len(one_word.encode())
