"""The whole build of a corpus with images: laws, shards, duplicates, stories, and the same bytes
whatever way it was built."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pytest

from dataflow import arrays, exchange, external, graph, pictures, shardroots, windows
from dataflow.build import build
from dataflow.retokenize import retokenize
from dataflow.run import Run
from dataflow.shards import read_content_shard, read_token_shard
from dataflow.steps import order, read
from dataflow.store import Store
from dataflow.tilings import TILINGS
from dataflow.tokenizer import Tokenizer, train
from dataflow.verify import verify
from dataflow.why import find_documents, story, tell
from tests.dataflow.corpora import sentence_text, write_corpus
from tests.dataflow.faulty_build import CRASHED, run_faulty
from tests.dataflow.picture_corpora import (
    HERE,
    image,
    line,
    picture_format,
    picture_rows,
    shown,
    write_lines,
    write_picture_corpus,
    write_picture_recipe,
)
from tests.dataflow.run_tools import contents
from vl_data.images import MARK
from vl_data.tiling import plan


@pytest.fixture(scope="module", autouse=True)
def _format() -> Iterator[None]:
    with picture_format():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=40)
    write_picture_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _build(write_picture_recipe(corpus), tmp_path_factory.mktemp("runs") / "pictures")


def _build(recipe: Path, out: Path, workers: int = 0) -> Run:
    build(recipe, str(out), workers=workers, show=False)
    return Run.load(Store(str(out)))


def _rows(run: Run, step: str, role: str) -> list[dict[str, Any]]:
    records = [getattr(partition, step) for partition in run.partitions]
    return [row for record in records for row in run.table(record, role).to_pylist()]


def _index(run: Run) -> list[dict[str, Any]]:
    return [r for s in run.shards for r in run.table(s.tokenize, "index").to_pylist()]


def test_a_run_with_images_verifies_and_its_laws_hold(run: Run) -> None:
    found = verify(run)
    assert found.problems == []
    pages = found.as_json()["sources"]["pages"]
    assert pages["records"] == {"seen": 45, "unreadable": 5, "read": 40}
    assert pages["documents"] == {"read": 40, "kept": 32, "dropped": 8}
    assert pages["bytes"]["removed"] == 8
    reasons = Counter(row["reason"] for row in _rows(run, "read", "unreadable"))
    assert reasons["image-truncated"] == 4
    assert reasons["marks-differ"] == 1


def test_documents_with_images_have_shards_of_their_own(run: Run) -> None:
    names = {shard.name.rpartition("-")[0] for shard in run.shards}
    assert names == {"train", "heldout", "train-vl", "heldout-vl"}
    documents = {row["doc_id"]: row for row in _rows(run, "read", "documents")}
    stored = {r["digest"]: r["data"] for p in run.partitions if "images" in p.read.outputs
              for r in run.table(p.read, "images").to_pylist()}  # fmt: skip
    removed = Counter(row["doc_id"] for row in _rows(run, "settle", "spans"))
    seen = 0
    for shard in run.shards:
        tar = run.store.read(shard.pack.outputs["shard"].path)
        for row in run.table(shard.tokenize, "index").to_pylist():
            document = documents[row["doc_id"]]
            assert bool(document["images"]) == ("-vl-" in shard.name)
            assert shard.name.startswith(row["split"])
            text = tar[row["text_offset"] : row["text_offset"] + row["text_bytes"]].decode()
            if not removed[row["doc_id"]]:
                assert text == document["text"]
            assert text.count(MARK) == len(row["images"]) == len(document["images"])
            for placed, held in zip(row["images"], document["images"], strict=True):
                data = tar[placed["offset"] : placed["offset"] + placed["bytes"]]
                assert data == stored[held["digest"]]
                assert blake3.blake3(data).digest() == held["digest"]
                assert (placed["width"], placed["height"]) == (held["width"], held["height"])
                counts = {t: placed[f"tokens_{t}"] for t in TILINGS}
                assert counts == {t: plan(held["width"], held["height"], t).tokens for t in TILINGS}
            seen += "-vl-" in shard.name
    assert seen == 32


def test_token_shards_have_an_id_an_image_and_rows_for_what_carries_loss(run: Run) -> None:
    tokenizer = Tokenizer.load(
        Path(run.store.uri) / Path(run.tokenizer.outputs["card"].path).parent
    )
    spanned = 0
    for shard in run.shards:
        with (
            run.store.stream(shard.pack.outputs["shard"].path) as content,
            run.store.stream(shard.tokenize.outputs["shard"].path) as tokens,
        ):
            for told, sample in zip(
                read_content_shard(content), read_token_shard(tokens), strict=True
            ):
                assert told.key == sample.key
                for i in range(len(told)):
                    ids, loss = sample.document(i), told.loss(i)
                    assert int((ids == tokenizer.specials["image"]).sum()) == len(told.images(i))
                    mine = sample.spans[sample.spans[:, 0] == i, 1:].tolist()
                    assert bool(mine) == bool(loss)
                    if loss:
                        spanned += 1
                        said = b"".join(told.text(i)[loss[2] : loss[3]].splitlines())
                        learned = tokenizer.decode(ids[mine[-1][0] : mine[-1][1] - 1])
                        assert b"".join(learned.splitlines()).endswith(said)
                        assert mine[-1][1] == len(ids)
    assert spanned == 4


def test_near_duplicates_show_the_same_images(run: Run) -> None:
    """Of every ten: an exact copy, a copy with another picture, and a near copy of a copy whose
    pictures are other files of the same pixels."""
    fates = Counter((row["kept"], row["rule"]) for row in _rows(run, "settle", "dispositions")
                    if row["source"] == "pages")  # fmt: skip
    assert fates == {(True, None): 32, (False, "exact"): 4, (False, "near"): 4}
    documents = {row["doc_id"]: row for row in _rows(run, "read", "documents")}
    for row in _rows(run, "settle", "dispositions"):
        if row["survivor"] is not None and row["source"] == "pages":
            mine, other = documents[row["doc_id"]], documents[row["survivor"]]
            key = "digest" if row["rule"] == "exact" else "pixels"
            assert [i[key] for i in mine["images"]] == [i[key] for i in other["images"]]


def test_images_that_only_look_alike_make_near_duplicates(tmp_path: Path) -> None:
    text = sentence_text(np.random.default_rng(5), 30)
    a, b = image(1, (400, 300), "jpeg", quality=95), image(1, (400, 300), "jpeg", quality=88)
    c = image(2, (400, 300), "jpeg", quality=95)
    longer = text + " One more sentence at the end."
    rows = [
        line(text + HERE, shown(a)),
        line(longer + HERE, shown(b)),
        line(longer + HERE, shown(c)),
        line(longer),
        line(longer + HERE + HERE, shown(a), shown(c)),
        line(longer + HERE + HERE, shown(c), shown(a)),
        line(longer + HERE + HERE, shown(b), shown(c)),
    ]
    write_lines(tmp_path / "pictures" / "x.pictures", rows)
    made = _build(write_picture_recipe(tmp_path, text=False), tmp_path / "run")
    assert verify(made).problems == []
    dropped = [row for row in _rows(made, "settle", "dispositions") if not row["kept"]]
    assert [row["rule"] for row in dropped] == ["near", "near"]
    documents = _rows(made, "read", "documents")
    number = {row["doc_id"]: i for i, row in enumerate(documents)}
    pairs = {frozenset((number[row["doc_id"]], number[row["survivor"]])) for row in dropped}
    assert pairs == {frozenset((0, 1)), frozenset((4, 6))}


def test_cleaning_takes_images_with_their_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    prose = "The river and the stone have that letter."
    rows = [
        # The line of the first mark goes, that of the second stays.
        line(f"{prose}\n{HERE}\n{prose} {HERE} {prose}", shown(image(1)), shown(image(2))),
        # Both go: the document stays among those with images.
        line(f"{prose}\n{HERE}\n{prose} Another end.", shown(image(3))),
        # What is left carries no loss; nothing is left at all.
        line(f"{prose} More.\n{HERE}\nshort", shown(image(4)), loss=[[52, 57]]),
        line(f"{HERE}\nshort", shown(image(5))),
        # Loss moves with the text behind it.
        line(f"short\n{prose} {prose} Yes.", loss=[[6, 6 + len(prose)]]),
    ]
    assert (rows[2]["text"].replace(HERE, MARK).encode())[52:57] == b"short"
    generator = np.random.default_rng(2)
    others = [line(sentence_text(generator, 30)) for _ in range(10)]
    write_lines(tmp_path / "pictures" / "x.pictures", [*rows, *others])
    recipe = write_picture_recipe(tmp_path, text=False)
    recipe.write_text(recipe.read_text().replace("clean: [control]", "clean: [{use: c4.lines}]"))
    made = _build(recipe, tmp_path / "run")
    assert verify(made).problems == []
    fates = [(row["kept"], row["rule"]) for row in _rows(made, "settle", "dispositions")]
    kept, empty = (True, None), (False, "empty")
    assert fates[: len(rows)] == [kept, kept, empty, empty, kept]
    documents = {row["doc_id"]: i for i, row in enumerate(_rows(made, "read", "documents"))}
    index = {documents[row["doc_id"]]: row for row in _index(made)}
    index = {number: row for number, row in index.items() if number < len(rows)}
    assert {n: len(row["images"]) for n, row in index.items()} == {0: 1, 1: 0, 4: 0}
    assert "-vl-" in index[1]["shard"]
    assert "-vl-" not in index[4]["shard"]
    digest = blake3.blake3(image(2)).hexdigest()
    told = {}
    for shard in made.shards:
        with made.store.stream(shard.pack.outputs["shard"].path) as stream:
            for sample in read_content_shard(stream):
                for i in range(len(sample)):
                    told[documents[sample.doc_id(i)]] = sample, i
    sample, i = told[0]
    assert [image["digest"] for image in sample.documents["images"][i]] == [digest]
    sample, i = told[4]
    start, end = sample.loss(i)
    assert sample.text(i)[start:end].decode() == prose
    # A shard of text with loss has both columns, and none of its documents an image.
    assert sample.documents["images"][i] == []


def test_why_tells_of_images(run: Run) -> None:
    row = next(row for row in _index(run) if len(row["images"]) == 2)
    told = story(run, row["doc_id"])
    json.dumps(told)
    assert len(told["document"]["images"]) == 2
    words = tell(told)
    assert "image 0     image0, png, 60 × 40 pixels" in words
    assert "alt" in words
    with_refused = next(r for r in _rows(run, "read", "unreadable") if "#image-" in r["uri"])
    assert find_documents(run, with_refused["uri"].partition("#")[0])


def test_ray_workers_build_the_same_run(run: Run, corpus: Path, tmp_path: Path) -> None:
    made = _build(write_picture_recipe(corpus), tmp_path / "ray", workers=2)
    assert made.header["logical_root"] == run.header["logical_root"]
    assert made.header["file_root"] == run.header["file_root"]
    assert verify(made).problems == []


def test_roots_depend_on_neither_partitions_nor_memory(
    run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = _build(write_picture_recipe(corpus, partition_bytes="1MiB"), tmp_path / "cut")
    assert len(cut.partitions) < len(run.partitions)
    assert cut.header["logical_root"] == run.header["logical_root"]
    for module, name, value in (
        (graph, "ORDER_MEMORY", 1),
        (graph, "DEDUP_MEMORY", 1),
        (arrays, "WINDOW_BYTES", 4096),
        (arrays, "WINDOW_ROWS", 16),
        (order, "WINDOW_ROWS", 16),
        (windows, "WINDOW_BYTES", 1000),
        (shardroots, "BATCH_ROWS", 3),
        (external, "LEAST_RUN", 8),
        (exchange, "SEGMENT_BYTES", 1000),
        (pictures, "GROUP_BYTES", 1000),
        (read, "GROUP_PICTURE_BYTES", 1000),
    ):
        monkeypatch.setattr(module, name, value)
    small = _build(write_picture_recipe(corpus), tmp_path / "small")
    assert small.header["logical_root"] == run.header["logical_root"]
    for ours, theirs in zip(small.shards, run.shards, strict=True):
        assert ours.pack.outputs["shard"].blake3 == theirs.pack.outputs["shard"].blake3


def _crash(recipe: str, out: str, countdown: int, half: bool) -> None:
    with picture_format():
        run_faulty(recipe, out, countdown, half)


def _cut_short(recipe: Path, out: Path, countdown: int, half: bool) -> int | None:
    """A build that ends in its write ``countdown``; how it ended."""
    arguments = (str(recipe), str(out), countdown, half)
    process = multiprocessing.get_context("fork").Process(target=_crash, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def test_a_build_cut_short_goes_on_to_the_same_run(run: Run, corpus: Path, tmp_path: Path) -> None:
    recipe = write_picture_recipe(corpus)
    out = tmp_path / "run"
    for countdown, half in ((9, True), (40, False), (31, True), (23, True)):
        assert _cut_short(recipe, out, countdown, half) == CRASHED
    made = _build(recipe, out)
    assert made.header == run.header
    assert contents(out) == contents(Path(run.store.uri))


@pytest.mark.long
@pytest.mark.parametrize("half", [False, True], ids=["between", "within"])
def test_a_build_cut_short_anywhere_goes_on_to_the_same_run(
    run: Run, corpus: Path, tmp_path: Path, half: bool
) -> None:
    """A crash in every third write of a build, each in a folder of its own."""
    recipe = write_picture_recipe(corpus)
    countdown = 1 + half
    while _cut_short(recipe, tmp_path / str(countdown), countdown, half) == CRASHED:
        out = tmp_path / str(countdown)
        assert _build(recipe, out).header == run.header
        assert contents(out) == contents(Path(run.store.uri))
        shutil.rmtree(out)
        countdown += 3
    assert countdown > 100


def test_building_again_runs_nothing_and_images_are_of_the_run(run: Run, corpus: Path) -> None:
    again = build(write_picture_recipe(corpus), run.store.uri, show=False)
    assert again.executed == 0
    assert again.header == run.header
    files = run.store.list("images")
    assert files == sorted(
        p.read.outputs["images"].path for p in run.partitions if "images" in p.read.outputs
    )


def _copy(run: Run, folder: Path) -> Run:
    shutil.copytree(Path(run.store.uri), folder / "run")
    return Run.load(Store(str(folder / "run")))


def test_verify_finds_a_changed_and_a_lost_image(run: Run, tmp_path: Path) -> None:
    copied = _copy(run, tmp_path)
    partition = next(p for p in copied.partitions if "images" in p.read.outputs)
    path = partition.read.outputs["images"].path
    data = bytearray(copied.store.read(path))
    data[data.index(b"IDAT") + 9] ^= 1
    copied.store.write(path, bytes(data))
    assert any(problem.startswith(path) for problem in verify(copied).problems)
    copied.store.delete(path)
    assert any(problem.startswith(f"{path}: is in the manifest") for problem in
               verify(copied).problems)  # fmt: skip


def test_retokenize_keeps_images_and_their_counts(run: Run, tmp_path: Path) -> None:
    copied = _copy(run, tmp_path)
    generator = np.random.default_rng(1)
    train([sentence_text(generator, 50) for _ in range(20)], 520, tmp_path / "other")
    retokenize(copied.store, tmp_path / "other")
    after = Run.load(copied.store)
    assert verify(after).problems == []
    assert [row["images"] for row in _index(after)] == [row["images"] for row in _index(run)]
    assert [s.pack.outputs["shard"].blake3 for s in after.shards] == [
        s.pack.outputs["shard"].blake3 for s in run.shards
    ]


def test_more_refused_images_than_documents_stop_no_build(tmp_path: Path) -> None:
    rows = picture_rows(12)[:-1]
    for row in rows:
        row["images"] += [{"refuse": "image-missing"}] * 5
    write_lines(tmp_path / "pictures" / "x.pictures", rows)
    made = _build(write_picture_recipe(tmp_path, text=False), tmp_path / "run")
    assert verify(made).problems == []
