"""Signals of images and captions: in rules, in survivor terms, in the run, in the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow.build import build
from dataflow.recipe import RecipeError, load_recipe
from dataflow.report.images import ImageTotals
from dataflow.retokenize import retokenize
from dataflow.run import Run
from dataflow.sequences import mix_sequences
from dataflow.signals import SIGNALS
from dataflow.store import Store
from dataflow.tables import DOCUMENTS, INDEX
from dataflow.tokenizer import train
from dataflow.verify import verify
from dataflow.why import story
from quality.signals import SIGNALS as TEXT_SIGNALS
from tests.dataflow.corpora import sentence_text, write_corpus, write_recipe
from tests.dataflow.picture_corpora import (
    HERE,
    image,
    line,
    picture_format,
    shown,
    write_lines,
    write_picture_corpus,
    write_picture_recipe,
)
from vl_data.signals import SIGNALS as IMAGE_SIGNALS

RULES = """\
{signal: image.count, max: 1}, {signal: caption.words, min: 2},
  {signal: caption.images, max: 12}, {signal: image.captions, max: 2}"""


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


def _build(recipe: Path, out: Path) -> Run:
    build(recipe, str(out), show=False)
    run = Run.load(Store(str(out)))
    assert verify(run).problems == []
    return run


@pytest.fixture(scope="module")
def plain(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _build(write_picture_recipe(corpus), tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture(scope="module")
def ruled(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = write_picture_recipe(corpus, rules=RULES)
    return _build(recipe, tmp_path_factory.mktemp("runs") / "ruled")


def _rows(run: Run, step: str, role: str) -> list[dict[str, Any]]:
    records = [getattr(partition, step) for partition in run.partitions]
    return [row for record in records for row in run.table(record, role).to_pylist()]


def _signals(run: Run) -> dict[bytes, dict[str, Any]]:
    """All signals of each document, by id."""
    found = {}
    for partition in run.partitions:
        tables = [run.table(record, role) for record, role in run.signals(partition)]
        rows = [table.to_pylist() for table in tables]
        ids = run.table(partition.read, "documents", ["doc_id"])["doc_id"].to_pylist()
        for doc_id, *parts in zip(ids, *rows, strict=True):
            found[doc_id] = {name: value for part in parts for name, value in part.items()}
    return found


def test_names_of_both_kinds_of_signals_are_apart() -> None:
    assert not TEXT_SIGNALS.keys() & IMAGE_SIGNALS.keys()
    assert SIGNALS.keys() == TEXT_SIGNALS.keys() | IMAGE_SIGNALS.keys()


def test_recipes_know_the_names_presets_and_ranges(corpus: Path) -> None:
    good = "{use: obelics.images}, {use: images.repetition}, {signal: caption.lang, in: [en]}"
    recipe = load_recipe(write_picture_recipe(corpus, rules=good))
    names = {rule.signal for rule in recipe.rules_of("pages")}
    assert {"image.min_side", "caption.images", "caption.lang"} <= names
    for rules, told in (
        ("{signal: image.cuont, max: 1}", "image.count"),
        ("{signal: image.blank_frac, max: 1.5}", "unreachable threshold max 1.5"),
        ("{use: obelics.imges}", "obelics.images"),
        ("{signal: caption.lang, in: [xx]}", "unknown language 'xx'"),
    ):
        with pytest.raises(RecipeError) as raised:
            load_recipe(write_picture_recipe(corpus, rules=rules))
        assert told in str(raised.value)


def test_signals_are_measured_of_partitions_with_images_and_of_no_other(plain: Run) -> None:
    for partition in plain.partitions:
        pictured = partition.source == "pages"
        assert (partition.images is not None) == pictured
        assert len(plain.signals(partition)) == (4 if pictured else 2)
    counts = {d: s.get("image.count") for d, s in _signals(plain).items()}
    documents = {row["doc_id"]: len(row["images"]) for row in _rows(plain, "read", "documents")}
    assert {d: c or 0 for d, c in counts.items()} == documents


def test_repetition_counts_the_whole_run(plain: Run) -> None:
    """Against a count by hand: images are one by their pixels (none of these look alike)."""
    captions: dict[bytes, set[str]] = defaultdict(set)
    pixels: dict[str, set[bytes]] = defaultdict(set)
    rows = [row for row in _rows(plain, "read", "documents") if row["images"]]
    for row in rows:
        for held in row["images"]:
            told = held["caption"] or held["alt"]
            if told:
                captions[held["pixels"]].add(told.lower())
                pixels[told.lower()].add(held["pixels"])
    signals = _signals(plain)
    assert max(len(held) for held in pixels.values()) > 12
    for row in rows:
        mine = signals[row["doc_id"]]
        told = [(i["caption"] or i["alt"], i["pixels"]) for i in row["images"]]
        with_caption = [(text.lower(), shown) for text, shown in told if text]
        wanted = max((len(captions[shown]) for _, shown in with_caption), default=None)
        assert mine["image.captions"] == wanted
        wanted = max((len(pixels[text]) for text, _ in with_caption), default=None)
        assert mine["caption.images"] == wanted


def test_rules_name_them_like_any_other(ruled: Run) -> None:
    signals = _signals(ruled)
    fates = {row["doc_id"]: row for row in _rows(ruled, "settle", "dispositions")}
    seen = set()
    for doc_id, row in fates.items():
        mine = signals[doc_id]
        failed = None
        for name, low, high in (
            ("image.count", None, 1),
            ("caption.words", 2, None),
            ("caption.images", None, 12),
            ("image.captions", None, 2),
        ):
            value = mine.get(name)
            if value is not None and ((low or 0) > value or (high or 10**9) < value):
                failed = name, value
                break
        found = (row["rule"], row["value"]) if row["step"] == "decide" else None
        assert found == failed
        seen.add(found and found[0])
    assert seen == {None, "image.count", "caption.images"}
    # Rules of text documents name them too: there is nothing to measure, so nothing fails.
    assert all(row["step"] != "decide" for row in fates.values() if row["source"] == "rows")
    told = story(ruled, next(iter(fates)))
    assert told["signals"]["image.count"] == 0


def test_signals_do_not_depend_on_who_asks(plain: Run, ruled: Run) -> None:
    for ours, theirs in zip(plain.partitions, ruled.partitions, strict=True):
        if ours.images is not None and theirs.images is not None:
            assert ours.images == theirs.images or (
                ours.images.outputs["signals"].blake3 == theirs.images.outputs["signals"].blake3
            )
    assert plain.repetition is not None
    assert ruled.repetition is not None
    assert plain.repetition.key == ruled.repetition.key


def test_survivor_terms_name_them(tmp_path: Path) -> None:
    text = "The river and the stone and the letter have that garden and the window. " * 8
    a = [shown(image(1)), shown(image(2))]
    with_words = [{**held, "caption": "A very long caption indeed"} for held in a]
    rows = [line(text + HERE * 2, *a), line(text + HERE * 2, *with_words)]
    generator = np.random.default_rng(1)
    others = [line(sentence_text(generator, 30)) for _ in range(10)]
    survivors = []
    for number, order in enumerate((rows, rows[::-1])):
        folder = tmp_path / str(number)
        write_lines(folder / "pictures" / "x.pictures", [*order, *others])
        recipe = write_picture_recipe(folder, survivor="image.caption_frac desc", text=False)
        run = _build(recipe, folder / "run")
        kept = {row["doc_id"] for row in _rows(run, "settle", "dispositions") if row["kept"]}
        documents = [row for row in _rows(run, "read", "documents") if row["images"]]
        (document,) = (row for row in documents if row["doc_id"] in kept)
        survivors.append(document["images"][0]["caption"])
    assert survivors == ["A very long caption indeed"] * 2


def test_a_corpus_of_text_runs_none_of_it(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=12)
    run = _build(write_recipe(tmp_path), tmp_path / "run")
    progress = orjson.loads(run.store.read("journal/progress.json"))
    assert not {"images", "alike", "repetition"} & {step["step"] for step in progress["steps"]}
    assert run.repetition is None
    assert run.store.list("images") == []
    assert 'id="images"' not in run.store.read("report.html").decode()


def test_the_report_tells_of_images_and_of_rules_on_them(ruled: Run) -> None:
    page = ruled.store.read("report.html").decode()
    section = page[page.index('id="images"') :]
    section = section[: section.index("</section>")]
    images = sum(len(row["images"]) for row in _rows(ruled, "read", "documents"))
    documents = sum(bool(row["images"]) for row in _rows(ruled, "read", "documents"))
    assert f"stand in {documents} documents" in section
    assert "&lt;" not in section
    assert f">{images}<" in section or f"{images} images" in section
    for told in ("image-truncated", "marks-differ", "png", "Longer side", "Aspect"):
        assert told in section
    assert "image.count" in page[page.index('id="rules"') :]
    assert '<a href="#images">Images</a>' in page


def test_totals_of_images_tell_kept_ones_apart() -> None:
    kind = pa.list_(
        pa.struct([("width", pa.int32()), ("height", pa.int32()), ("bytes", pa.int64()),
                   ("format", pa.string())])
    )  # fmt: skip
    one = {"width": 200, "height": 100, "bytes": 7, "format": "png"}
    two = {"width": 10, "height": 40, "bytes": 5, "format": "jpeg"}
    totals = ImageTotals()
    column = pa.chunked_array([pa.array([[one, two], [], [two]], kind)])
    totals.add(column, pa.array([True, True, False]).to_numpy(zero_copy_only=False))
    assert (totals.images, totals.kept, totals.bytes) == (3, 2, 17)
    assert (totals.documents, totals.kept_documents) == (2, 1)
    assert totals.formats == {"png": 1, "jpeg": 2}
    assert totals.aspects.counts.sum(axis=1).tolist() == [2, 1]


def _as_version_1(run: Run) -> None:
    """Write the tables that have a second version as the first had them."""
    for record, role, table in [
        *((p.read, "documents", DOCUMENTS) for p in run.partitions),
        *((s.tokenize, "index", INDEX) for s in run.shards),
    ]:
        path = Path(run.store.uri) / record.outputs[role].path
        old = pq.read_table(path).select(table.columns(1).names)
        metadata = {"leyden.table": table.name, "leyden.version": "1"}
        pq.write_table(old.replace_schema_metadata(metadata), path)


def test_a_run_whose_tables_are_of_version_1_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path, documents=20)
    run = _build(write_recipe(tmp_path), tmp_path / "run")
    _as_version_1(run)
    monkeypatch.setattr("dataflow.verify._check_files", lambda *_: None)
    found = verify(run)
    assert found.problems == []
    assert found.root_hash == run.header["logical_root"]
    row = _rows(run, "settle", "dispositions")[0]
    assert story(run, row["doc_id"])["document"]["images"] == []
    train([sentence_text(np.random.default_rng(4), 50) for _ in range(9)], 520, tmp_path / "other")
    retokenize(run.store, tmp_path / "other")
    after = Run.load(run.store)
    assert verify(after).problems == []
    schema = pq.read_schema(tmp_path / "run" / after.shards[0].tokenize.outputs["index"].path)
    assert schema.metadata[b"leyden.version"] == str(INDEX.version).encode()


def test_texts_beside_different_images_share_no_key() -> None:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, 1000).astype(np.uint64)
    zero, one, two = (np.full(1000, n, np.uint64) for n in (0, 77, 78))
    assert np.array_equal(mix_sequences(hashes, zero), hashes)
    assert np.array_equal(mix_sequences(hashes, one), mix_sequences(hashes.copy(), one))
    mixed = [mix_sequences(hashes, sequence) for sequence in (zero, one, two)]
    assert len(np.unique(np.concatenate(mixed))) == 3000


def test_rules_on_images_of_a_corpus_without_any_drop_nothing(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=20)
    recipe = write_recipe(tmp_path)
    plain = _build(recipe, tmp_path / "plain")
    last = "    - {signal: gopher.dup_line_frac, max: 0.3}\n"
    more = ["{signal: caption.images, max: 1}", "{signal: image.count, max: 0}"]
    more.append("{use: obelics.images, without: [image.count]}")
    told = last + "".join(f"    - {rule}\n" for rule in more)
    recipe.write_text(recipe.read_text().replace(last, told))
    ruled = _build(recipe, tmp_path / "ruled")
    assert ruled.repetition is not None
    assert ruled.header["logical_root"] == plain.header["logical_root"]
