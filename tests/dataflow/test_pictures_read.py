"""Reading records with images: rows, ids, the images' own table, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from dataflow import ids, pictures, tables
from dataflow.journal import Record
from dataflow.roots import rows_root
from dataflow.sources import plan
from dataflow.sources.refusal import REASONS
from dataflow.sources.spec import SourceSpec
from dataflow.steps import read
from dataflow.store import Store
from dataflow.tables import DOCUMENTS, IMAGES, INDEX, TableError, check_table, upgrade
from dataflow.tasks import Job, run_job
from dataflow.tilings import TILINGS_2
from tests.dataflow.picture_corpora import (
    FORMAT,
    HERE,
    image,
    line,
    picture_format,
    picture_rows,
    shown,
    write_lines,
)
from vl_data.images import FOREIGN_MARK, IMAGE, MARK
from vl_data.refusals import REASONS as IMAGE_REASONS
from vl_data.tiling import plan as tiled


@pytest.fixture(autouse=True)
def _format() -> Iterator[None]:
    with picture_format():
        yield


def _read(folder: Path, rows: list[dict[str, Any]]) -> tuple[Store, Record]:
    write_lines(folder / "in" / "x.pictures", rows)
    spec = SourceSpec("pages", paths=(str(folder / "in"),), format=FORMAT)
    (partition,) = plan(spec, 1 << 30)
    store = Store(str(folder / "run"))
    (folder / "run" / "journal").mkdir(parents=True)
    (folder / "scratch").mkdir()
    local = {"spec": spec.to_json(), "partition": partition.to_json()}
    job = Job(
        "dataflow.steps.read", "read", "pages-00000", "0" * 32, {}, local, {}, store,
        str(folder / "scratch"),
    )  # fmt: skip
    return store, run_job(job)


def _table(store: Store, record: Record, role: str) -> pa.Table:
    return pq.read_table(Path(store.uri) / record.outputs[role].path)


def test_a_record_with_images_becomes_a_row_and_its_images_are_stored_once(tmp_path: Path) -> None:
    a, b = image(1), image(2, kind="jpeg")
    rows = [
        line(f"First {HERE} then {HERE}.", shown(a, alt="A", ref="img/a.png"), shown(b)),
        line(f"{MARK} was here. Again: {HERE}", shown(a, caption="Figure 1")),
        line(f"Plain text, {MARK} and all."),
    ]
    store, record = _read(tmp_path, rows)
    documents = _table(store, record, "documents")
    check_table(documents.schema, DOCUMENTS, "documents")
    first, second, third = documents.to_pylist()
    assert first["text"] == f"First {MARK} then {MARK}."
    assert second["text"] == f"{FOREIGN_MARK} was here. Again: {MARK}"
    assert third["text"] == f"Plain text, {MARK} and all."
    assert [i["digest"] for i in first["images"]] == [blake3.blake3(x).digest() for x in (a, b)]
    assert (first["images"][0]["alt"], first["images"][0]["ref"]) == ("A", "img/a.png")
    assert first["images"][0]["caption"] is None
    assert (first["images"][1]["format"], first["images"][1]["bytes"]) == ("jpeg", len(b))
    assert (first["images"][0]["width"], first["images"][0]["height"]) == (60, 40)
    assert second["images"][0]["caption"] == "Figure 1"
    assert third["images"] == []
    held = _table(store, record, "images")
    check_table(held.schema, IMAGES, "images")
    assert held.to_pylist() == [{"digest": blake3.blake3(x).digest(), "data": x} for x in (a, b)]
    assert (record.stats["images"], record.stats["image_bytes"]) == (3, 2 * len(a) + len(b))
    assert record.outputs["images"].path.startswith("images/pages-00000-")
    assert not record.outputs["images"].temporary


def test_text_alone_leaves_no_file_of_images_and_has_the_ids_and_root_it_had(
    tmp_path: Path,
) -> None:
    store, record = _read(tmp_path, [line(f"Some text {MARK}."), line("And more of it.")])
    assert set(record.outputs) == {"documents", "unreadable"}
    documents = _table(store, record, "documents")
    assert documents["content_id"][0].as_py() == xxhash.xxh3_128_digest(
        f"Some text {MARK}.".encode()
    )
    names = [n for n in DOCUMENTS.columns(1).names if n != "text"]
    assert read.documents_root(documents) == rows_root(documents.select(names))


def test_content_ids_tell_images_and_their_order_and_the_text(tmp_path: Path) -> None:
    a, b = b"a" * 32, b"b" * 32
    found = [
        ids.content_id(b"text"),
        ids.content_id(b"text", [a]),
        ids.content_id(b"text", [b]),
        ids.content_id(b"text", [a, b]),
        ids.content_id(b"text", [b, a]),
        ids.content_id(b + b"text", [a]),
        ids.content_id(b"texts", [a, b]),
    ]
    assert len(set(found)) == len(found)


def test_refused_images_become_rows_and_the_record_is_read(tmp_path: Path) -> None:
    row = line(
        f"Before {HERE} after.",
        {"refuse": "image-missing", "ref": "gone.png"},
        shown(image(1)),
        {"refuse": "image-bomb", "ref": "bomb.png"},
    )
    store, record = _read(tmp_path, [row, line("All gone.", {"refuse": "image-empty"})])
    assert record.stats["read"] == 2
    assert record.stats["seen"] == 5 == record.stats["read"] + record.stats["unreadable"]
    assert record.stats["reasons"] == {"image-bomb": 1, "image-empty": 1, "image-missing": 1}
    assert record.stats["bad"] == 0
    rows = _table(store, record, "unreadable").to_pylist()
    assert [r["uri"] for r in rows[:2]] == ["x.pictures#image-0", "x.pictures#image-2"]
    assert rows[0]["detail"] == "gone.png: as the test wants it"
    assert all(r["source"] == "pages" for r in rows)


def test_marks_that_are_not_as_many_as_images_are_an_unreadable_row(tmp_path: Path) -> None:
    rows = [line(f"{HERE} {HERE}", shown(image(1))), line("No mark.", shown(image(2)))]
    store, record = _read(tmp_path, rows)
    assert record.stats["reasons"] == {"marks-differ": 2}
    assert record.stats["bad"] == 2
    assert "images" not in record.outputs
    details = _table(store, record, "unreadable")["detail"].to_pylist()
    assert details[0] == "found 2 marks in the text, expected one for each of 1 images"
    assert store.list("images") == []


def test_loss_spans_are_kept_flat_and_wrong_ones_stop_the_build(tmp_path: Path) -> None:
    store, record = _read(tmp_path, [line("Ask. Answer.", loss=[[0, 3], [5, 12]])])
    assert _table(store, record, "documents")["loss"].to_pylist() == [[0, 3, 5, 12]]
    for loss, found in (
        ([(3, 3)], "hold a byte"),
        ([(0, 99)], "in a text of 6 bytes"),
        ([(1, 4), (3, 5)], "behind 4"),
        ([(0, 2)], "cuts a character in two"),
    ):
        assert found in (pictures.loss_fault("aéoü".encode(), loss) or "")
    assert pictures.loss_fault("aéoü".encode(), [(0, 1), (1, 6)]) is None


def test_row_groups_end_where_their_images_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(image(1))
    monkeypatch.setattr(read, "GROUP_PICTURE_BYTES", 2 * size)
    monkeypatch.setattr(pictures, "GROUP_BYTES", 1)
    rows = [line(f"Text {i} {HERE}", shown(image(1))) for i in range(5)]
    store, record = _read(tmp_path, rows)
    file = pq.ParquetFile(Path(store.uri) / record.outputs["documents"].path)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [2, 2, 1]
    assert record.outputs["images"].rows == 1


def test_the_root_of_documents_does_not_depend_on_their_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = picture_rows(20)
    whole = _read(tmp_path / "a", rows)[1].stats["documents_root"]
    monkeypatch.setattr(read, "GROUP_ROWS", 3)
    assert _read(tmp_path / "b", rows)[1].stats["documents_root"] == whole
    rows[0]["images"][0]["alt"] = "another"
    assert _read(tmp_path / "c", rows)[1].stats["documents_root"] != whole


def _older(table: tables.Table, rows: int) -> pa.Table:
    schema = table.columns(1)
    columns = [
        pa.array([orjson.dumps(i) * 16 for i in range(rows)], f.type)
        if pa.types.is_fixed_size_binary(f.type)
        else pa.nulls(rows, f.type)
        for f in schema
    ]
    metadata = {"leyden.table": table.name, "leyden.version": "1"}
    return pa.table(columns, schema=schema.with_metadata(metadata))


@pytest.mark.parametrize("table", [DOCUMENTS, INDEX], ids=lambda table: table.name)
def test_tables_of_version_1_are_read(table: tables.Table) -> None:
    old = _older(table, 3)
    check_table(old.schema, table, "old.parquet")
    new = upgrade(old, table)
    assert new.schema.names == table.schema.names
    assert new["images"].to_pylist() == [[], [], []]
    assert new.select(old.schema.names).equals(old.replace_schema_metadata(None)) or new.select(
        old.schema.names
    ).equals(old)
    assert upgrade(new, table).equals(new)
    late, known = str(table.version + 1), " or ".join(map(str, range(1, table.version + 1)))
    newer = old.schema.with_metadata({"leyden.table": table.name, "leyden.version": late})
    with pytest.raises(TableError, match=rf"found {table.name} version {late}, expected {known};"):
        check_table(newer, table, "new.parquet")
    # A file says its version: the columns of one under the number of the other are a fault.
    lying = old.schema.with_metadata({"leyden.table": table.name, "leyden.version": "2"})
    with pytest.raises(TableError, match=r"missing \['images'"):
        check_table(lying, table, "lying.parquet")


def test_an_index_of_version_2_gets_the_counts_it_lacks() -> None:
    place = {"width": 900, "height": 300, "bytes": 7, "offset": 512}
    # Counts that are there are taken as they are: the tokens of a run are what its index says.
    row = {**place, **{f"tokens_{tiling}": i for i, tiling in enumerate(TILINGS_2, 1)}}
    columns: dict[str, Any] = {"doc_id": [b"d" * 16] * 3, "images": [[row, row], [], [row]]}
    schema = INDEX.columns(2)
    kinds = [schema.field("doc_id"), schema.field("images")]
    old = pa.table(columns, schema=pa.schema(kinds))
    new = upgrade(old, INDEX, ["images", "doc_id"])
    assert new.schema.names == ["images", "doc_id"]
    assert new["images"].type == INDEX.schema.field("images").type
    one = {**row, "tokens_fixed56": tiled(900, 300, "fixed56").tokens}
    assert new["images"].to_pylist() == [[one, one], [], [one]]
    assert upgrade(new, INDEX, ["images", "doc_id"]).equals(new)
    with pytest.raises(TableError, match="the columns of 'index' differ"):
        check_table(INDEX.schema.with_metadata(_version(2)), INDEX, "lying.parquet")
    check_table(schema.with_metadata(_version(2)), INDEX, "old.parquet")


def _version(version: int) -> dict[str, str]:
    return {"leyden.table": INDEX.name, "leyden.version": str(version)}


def test_every_column_of_an_image_is_in_the_root() -> None:
    row = {
        "digest": b"d" * 32, "bytes": 3, "format": "png", "width": 1, "height": 2,
        "pixels": b"p" * 16, "phash": 2**63, "frames": 1, "blank": False, "ref": "r",
        "alt": None, "caption": "c",
    }  # fmt: skip
    others: dict[str, Any] = {
        "digest": b"e" * 32, "bytes": 4, "format": "gif", "width": 2, "height": 3,
        "pixels": b"q" * 16, "phash": 1, "frames": 2, "blank": True, "ref": "s", "alt": "",
        "caption": None,
    }  # fmt: skip
    assert row.keys() == others.keys() == {field.name for field in IMAGE}

    def root(images: list[dict[str, Any]]) -> int:
        columns = [pa.array([1]), pa.array([images], pa.list_(IMAGE))]
        return rows_root(pa.table(columns, names=["n", "images"]), ["images"])

    changed = [root([{**row, name: value}]) for name, value in others.items()]
    assert len({root([]), root([row]), root([row, row]), *changed}) == 3 + len(changed)
    assert root([]) == rows_root(pa.table([[1]], names=["n"]))


def test_reasons_of_the_corpus_are_counted_once(tmp_path: Path) -> None:
    _, record = _read(tmp_path, picture_rows(40))
    assert record.stats["read"] == 40
    assert Counter(record.stats["reasons"]) == {"image-truncated": 4, "marks-differ": 1}


def test_every_reason_of_hygiene_is_one_of_the_ledger() -> None:
    assert IMAGE_REASONS.keys() <= REASONS.keys()
    assert {"marks-differ", "empty-answer"} <= REASONS.keys()


@pytest.mark.parametrize("group_bytes", [1, 300, 1 << 20])
def test_images_come_back_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_bytes: int
) -> None:
    monkeypatch.setattr(pictures, "GROUP_BYTES", group_bytes)
    made = [image(number) for number in range(5)]
    store, record = _read(tmp_path, [line(f"{HERE} {i}", shown(d)) for i, d in enumerate(made)])
    reader = pictures.PictureReader(store, record)
    digests = [blake3.blake3(data).digest() for data in made]
    for order in ([0, 1, 2, 3, 4], [3, 1, 4, 1, 0], [2], [4, 4], []):
        found = reader.read([digests[i] for i in order])
        assert found.type == pa.large_binary()
        assert found.to_pylist() == [made[i] for i in order]
    with pytest.raises(KeyError):
        reader.read([b"x" * 32])
