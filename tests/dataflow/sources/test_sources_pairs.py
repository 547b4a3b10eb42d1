"""Pairs of an image and a caption, in every container they come in."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow.sources import Fields, Limits, SourceSpec, plan, read
from dataflow.sources.formats.beside import Beside
from dataflow.sources.formats.tar import Damage, members
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Item
from tests.dataflow.sources.made_pairs import image, tar
from vl_data.images import FOREIGN_MARK, MARK
from vl_data.limits import ANY_SIZE

Reader = Callable[..., Any]
A, B, C = image(1), image(2, kind="jpeg"), image(3, kind="webp")


def pairs(found: Any) -> list[tuple[str, str, str]]:
    """(text without the mark, format, ref) of each record."""
    rows = []
    for record in found.records:
        (picture,) = record.images
        assert record.text.startswith(MARK + "\n")
        rows.append((record.text[2:], picture.facts.format, picture.ref))
    return rows


def test_a_webdataset_tar(tmp_path: Path, read_all: Reader) -> None:
    described = {"caption": "In JSON.", "refined": None, "alt": "Alt.", "width": 9, "url": "u"}
    data = tar(
        {
            "x/0001.png": A,
            "x/0001.txt": "Ein Käfer.\n".encode(),
            "x/0002.jpg": B,
            "x/0002.json": json.dumps(described).encode(),
            "x/0003.webp": C,
            "x/0003.caption": b"\xef\xbb\xbfWith a mark " + MARK.encode(),
            "x/photo.v2.png": A,
            "x/photo.v2.txt": b"Two dots.",
            "x/.nv-meta/split.json": b"{}",
        }
    )
    (tmp_path / "a.tar").write_bytes(data)
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(data))
    found = read_all(format="image-text", fields=Fields(url="url", metadata=("width",)))
    assert found.refused == []
    first, second = found.records[:4], found.records[4:]
    assert pairs(found)[:4] == [
        ("Ein Käfer.", "png", "x/0001.png"),
        ("In JSON.", "jpeg", "x/0002.jpg"),
        (f"With a mark {FOREIGN_MARK}", "webp", "x/0003.webp"),
        ("Two dots.", "png", "x/photo.v2.png"),
    ]
    assert [r.text for r in first] == [r.text for r in second]
    assert [r.offset for r in first] == [r.offset for r in second]
    assert first[0].offset == 0
    assert first[1].images[0].alt == "Alt."
    assert first[1].images[0].caption == "In JSON."
    assert first[1].metadata == {"caption": "In JSON.", "url": "u", "width": 9}


def test_what_is_wrong_in_a_tar_is_a_row_each(tmp_path: Path, read_all: Reader) -> None:
    strip = image(4, (3000, 10))
    (tmp_path / "a.tar").write_bytes(
        tar(
            {
                "ok1.png": A,
                "ok1.txt": b"Fine.",
                "gone.txt": b"No image.",
                "empty.jpg": b"",
                "empty.txt": b"Nothing.",
                "latin.jpg": B,
                "latin.txt": "Käfer".encode("latin-1"),
                "blank.jpg": B,
                "blank.txt": b" \n",
                "bare.jpg": B,
                "bare.json": b"{}",
                "badjson.jpg": B,
                "badjson.json": b"{",
                "list.jpg": B,
                "list.json": b"[1]",
                "strip.png": strip,
                "strip.txt": b"A strip.",
                "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
                "svg.txt": b"Vectors.",
                "half.png": A[: len(A) // 2],
                "half.txt": b"Half.",
                "failed.json": b'{"caption": "x", "status": "failed", "error_message": "HTTP 404"}',
                "ok2.webp": C,
                "ok2.txt": b"Fine too.",
            }
        )
    )
    found = read_all(format="image-text")
    assert [t for t, _, _ in pairs(found)] == ["Fine.", "Fine too."]
    details = {o.detail.split(":")[0].split(".")[0]: (o.reason, o.detail) for o in found.all[1:-1]}
    assert {key: reason for key, (reason, _) in details.items()} == {
        "gone": "image-missing",
        "empty": "image-empty",
        "latin": "encoding",
        "blank": "empty-answer",
        "bare": "missing-field",
        "badjson": "bad-json",
        "list": "bad-json",
        "strip": "image-aspect",
        "svg": "image-format",
        "half": "image-truncated",
        "failed": "image-missing",
    }
    assert "HTTP 404" in details["failed"][1]
    assert "0xe4" in details["latin"][1]


def test_a_damaged_tar_costs_what_is_damaged(tmp_path: Path, read_all: Reader) -> None:
    names = [f"{i:03d}" for i in range(6)]
    rows = [(f"{n}.{s}", d) for n in names for s, d in (("png", A), ("txt", n.encode()))]
    data = bytearray(tar(rows))
    sample = len(data) // 6 // 512 * 512
    places = [data.find(f"{n}.png".encode()) for n in names]
    for byte in range(20):  # the header of the third image
        data[places[2] + byte] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(bytes(data))
    (tmp_path / "b.tar").write_bytes(bytes(data[: places[5] + 700]))
    (tmp_path / "c.tar").write_bytes(b"no tar at all " * 100)
    found = read_all(format="image-text")
    by_file: dict[str, list[str]] = {"a.tar": [], "b.tar": [], "c.tar": []}
    for record in found.records:
        by_file[record.uri].append(record.text[2:])
    assert by_file == {
        "a.tar": ["000", "001", "003", "004", "005"],
        "b.tar": ["000", "001", "003", "004"],
        "c.tar": [],
    }
    reasons = {uri: [r for u, _, r in found.refused if u == uri] for uri in by_file}
    assert sample > 0
    assert reasons["a.tar"] == ["bad-archive-record", "image-missing"]
    assert reasons["b.tar"] == ["bad-archive-record", "image-missing", "truncated"]
    assert reasons["c.tar"][0] == "bad-archive-record"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_the_standard_library(tmp_path: Path, form: int) -> None:
    long = "a-long-folder/" * (6 if form == tarfile.USTAR_FORMAT else 20)
    data = tar({f"{long}é{i}.bin": bytes([i]) * (i * 300) for i in range(7)}, format=form)
    path = tmp_path / "a.tar"
    path.write_bytes(data + tar({"behind.txt": b"another archive"}))
    with path.open("rb") as stream, tarfile.open(path, ignore_zeros=True) as archive:
        expected = [
            (m.name, m.size, archive.extractfile(m).read())  # type: ignore[union-attr]
            for m in archive
        ]
        stream.seek(0)
        found = list(members(stream, 1 << 30))
    assert [(m.name, m.size, m.data) for m in found if not isinstance(m, Damage)] == expected
    assert len(found) == 8


@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=5),
    cut=st.floats(0.2, 1),
)
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_damage_raises_or_repeats(
    tmp_path: Path, flips: list[tuple[float, int]], cut: float
) -> None:
    small = image(1, (8, 8))
    data = bytearray(
        tar({f"{i}.{s}": d for i in range(5) for s, d in (("png", small), ("txt", b"t"))})
    )
    for place, mask in flips:
        data[int(place * (len(data) - 1))] ^= mask
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(data[: int(len(data) * cut)]))
    spec = SourceSpec("s", paths=(str(path),), format="image-text", images=ANY_SIZE)
    found = [o for p in plan(spec, 1 << 30) for o in read(spec, p)]
    assert found == [o for p in plan(spec, 1 << 30) for o in read(spec, p)]
    offsets = [o.offset for o in found]
    assert len(set(offsets)) == len(offsets)


def table() -> pa.Table:
    """img2dataset's Parquet output, with a row that it could not download."""
    return pa.table(
        {
            "url": ["http://a.example/1", "http://a.example/2", "http://a.example/3"],
            "key": ["000", "001", "002"],
            "status": ["success", "failed_to_download", "success"],
            "error_message": [None, "HTTP Error 404", None],
            "caption": ["One.", "Two.", "Three."],
            "jpg": [B, None, B],
        }
    )


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_img2dataset_rows(tmp_path: Path, read_all: Reader, kind: str) -> None:
    if kind == "parquet":
        pq.write_table(table(), tmp_path / "a.parquet", row_group_size=1)
    else:
        feather.write_feather(table(), tmp_path / "a.arrow", compression="uncompressed")
    for partition_bytes in (1, 1 << 30):
        found = read_all(
            partition_bytes, format="image-text", fields=Fields(url="url", metadata=("*",))
        )
        assert [t for t, _, _ in pairs(found)] == ["One.", "Three."]
        assert found.refused == [(f"a.{kind}", 1, "image-missing")]
        assert "404" in found.all[1].detail
        assert found.records[1].offset == 2
        assert found.records[0].metadata == {
            "caption": "One.", "key": "000", "status": "success", "url": "http://a.example/1",
        }  # fmt: skip


def test_rows_as_hugging_face_writes_them(tmp_path: Path, read_all: Reader) -> None:
    rows = pa.table(
        {
            "picture": [
                {"bytes": A, "path": "/home/someone/1.png"},
                {"bytes": None, "path": "beside/2.jpg"},
                {"bytes": None, "path": "/etc/passwd"},
                None,
            ],
            "say": [{"raw": "one", "new": "One, written anew."}] * 4,
        }
    )
    pq.write_table(rows, tmp_path / "a.parquet")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "2.jpg").write_bytes(B)
    fields = Fields(image="picture", caption="say.raw", refined="say.new")
    found = read_all(format="image-text", include=("*.parquet",), fields=fields)
    assert [r.images[0].ref for r in found.records] == ["1.png", "beside/2.jpg"]
    assert [(o, r) for _, o, r in found.refused] == [(2, "image-missing"), (3, "image-missing")]
    assert not any("/home" in str(o) or "/etc" in str(o) for o in found.all)
    for record in found.records:
        assert record.metadata == {"caption": "one", "refined": "One, written anew."}
        assert record.text[2:] in ("one", "One, written anew.")


def test_folders_with_json_json_lines_and_csv(tmp_path: Path, read_all: Reader) -> None:
    (tmp_path / "img").mkdir()
    for name, data in (("1.png", A), ("2.jpg", B)):
        (tmp_path / "img" / name).write_bytes(data)
    rows = [{"image": f"img/{n}", "caption": f"Of {n}."} for n in ("1.png", "2.jpg", "3.png")]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "c.csv").write_text(
        "image,caption\n" + "".join(f'{r["image"]},"{r["caption"]}"\n' for r in rows)
    )
    latin = "image\tcaption\nimg/1.png\tKäfer\nimg/2.jpg\tOf it.\n".encode("latin-1")
    (tmp_path / "d.tsv").write_bytes(latin)
    (tmp_path / "img" / "2.json").write_text('{"caption": "By name.", "key": "2"}')
    (tmp_path / "e.jsonl").write_bytes(
        b'{"image": "img/1.png", "caption": "\xe4"}\n{"image": "../1.png", "caption": "x"}\n'
        b'{"image": "http://a.example/1.png", "caption": "x"}\n{"caption": "x"}\n[]\n'
    )
    found = read_all(format="image-text", exclude=("img/*g",))
    texts: dict[str, list[str]] = {}
    for record in found.records:
        texts.setdefault(record.uri, []).append(record.text[2:])
        assert record.images[0].ref in ("img/1.png", "img/2.jpg")
    three = ["Of 1.png.", "Of 2.jpg."]
    assert texts == {
        "a.jsonl": three, "b.json": three, "c.csv": three, "d.tsv": ["Of it."],
        "img/2.json": ["By name."],
    }  # fmt: skip
    refused = [(uri, reason) for uri, _, reason in found.refused]
    assert refused == [
        ("a.jsonl", "image-missing"),
        ("b.json", "image-missing"),
        ("c.csv", "image-missing"),
        ("d.tsv", "encoding"),
        ("e.jsonl", "encoding"),
        ("e.jsonl", "image-missing"),
        ("e.jsonl", "image-missing"),
        ("e.jsonl", "image-missing"),
        ("e.jsonl", "bad-json"),
    ]
    assert [o.detail for o in found.all if "outside" in getattr(o, "detail", "")] == [
        "../1.png: lies outside of the source's folder"
    ]


def test_an_array_is_read_as_its_elements_whatever_the_pieces(
    tmp_path: Path, read_all: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.png").write_bytes(A)
    rows = [
        {"image": "1.png", "caption": text}
        for text in ('quotes " and \\ and \\"', "braces {[,]}", "é" * 600, "last")
    ]
    body = json.dumps(rows, indent=2, ensure_ascii=False)
    (tmp_path / "a.json").write_text(body)
    (tmp_path / "b.json").write_text(body[:-40])
    for piece in (1, 7, 64, 1 << 20):
        monkeypatch.setattr("dataflow.sources.formats.objects._PIECE", piece)
        found = read_all(format="image-text", include=("*.json",))
        first = [r for r in found.records if r.uri == "a.json"]
        assert [r.text[2:] for r in first] == [row["caption"] for row in rows]
        data = (tmp_path / "a.json").read_bytes()
        assert all(data[r.offset : r.offset + 1] == b"{" for r in first)
        assert [(u, r) for u, _, r in found.refused] == [("b.json", "truncated")]
        assert len(found.all) == 4 + 3 + 1
    tight = read_all(format="image-text", include=("a.json",), limits=Limits(max_record_bytes=1000))
    assert [r for _, _, r in tight.refused] == ["record-too-large"]
    assert len(tight.records) == 3


def test_a_text_with_places_for_images(tmp_path: Path, read_all: Reader) -> None:
    for name, data in (("1.png", A), ("2.jpg", B)):
        (tmp_path / name).write_bytes(data)
    rows = [
        {"images": ["1.png", "2.jpg"], "text": "First <image> and then <image>."},
        {"images": ["1.png"], "text": "Two places: <image> <image>."},
        {"images": "2.jpg", "text": "None."},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_all(format="image-text", include=("*.jsonl",))
    assert found.texts == [f"First {MARK} and then {MARK}.", f"{MARK}\nNone."]
    assert [r for _, _, r in found.refused] == ["marks-differ"]


def test_real_photos_with_captions_in_a_folder_and_in_many_languages(
    tmp_path: Path, read_all: Reader, shared_data: Callable[[str], Path]
) -> None:
    for name, fields, expected in (
        ("coco_cc", Fields(caption="captions.1"), 26),
        ("tuxpaint_stamps", Fields(caption="captions.de"), 245),
        ("openstax_anthropology", Fields(caption="caption", metadata=("credit",)), 164),
    ):
        folder = tmp_path / name
        with tarfile.open(shared_data(f"f_vision_language/{name}.tar")) as archive:
            archive.extractall(folder, filter="data")
        found = read_all(
            paths=(str(folder),), format="image-text", fields=fields, images=ANY_SIZE,
            include=("captions.jsonl", "pairs.jsonl"),
        )  # fmt: skip
        assert len(found.all) == expected
        assert {r for _, _, r in found.refused} <= {"missing-field"}
        assert len(found.records) > 0.9 * expected


def test_images_beside_a_list_on_remote_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"s3://bucket/set/img/1.png": A, "s3://bucket/other/2.png": B}

    def open_held(locator: str, storage: Any) -> io.BytesIO:
        if locator not in held:
            raise Refusal("vanished", locator)
        return io.BytesIO(held[locator])

    monkeypatch.setattr("dataflow.sources.formats.beside.open_remote", open_held)
    item = Item("s3://bucket/set/meta/a.jsonl", "s3://bucket/set/meta/a.jsonl", "image-text", 9)
    beside = Beside(SourceSpec("s", paths=("s3://bucket/set/**/*.jsonl",)), item)
    name = beside.name_of("../img/1.png")
    assert (name, beside.read(name, 1 << 20)) == ("bucket/set/img/1.png", A)
    for path in ("../../other/2.png", "../../../../x", "/bucket/other/2.png"):
        with pytest.raises(Refusal, match="image-missing"):
            beside.name_of(path)
    with pytest.raises(Refusal, match="there is no such file"):
        beside.read(beside.name_of("2.png"), 1 << 20)
    with pytest.raises(Refusal, match="image-too-large"):
        beside.read(name, 100)
    page = Item("https://a.example/x/a.jsonl", "https://a.example/x/a.jsonl", "image-text", 9)
    web = Beside(SourceSpec("s", paths=("https://a.example/x/a.jsonl",)), page)
    with pytest.raises(Refusal, match="nothing is fetched from the web"):
        web.read(web.name_of("1.png"), 1 << 20)


def test_raw_and_refined_captions_have_even_odds(tmp_path: Path, read_all: Reader) -> None:
    rows = []
    for number in range(120):
        name = f"{number}.png"
        (tmp_path / name).write_bytes(image(number, (24, 24)))
        rows.append({"image": name, "caption": "raw", "refined": "refined", "number": number})
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def drawn(seed: int) -> dict[str, str]:
        found = read_all(
            format="image-text", include=("*.jsonl",), seed=seed, images=ANY_SIZE
        ).records
        return {r.images[0].ref: r.text[2:] for r in found}

    first = drawn(1)
    # Of 120 fair draws, fewer than 36 or more than 84 of one kind are one in 100,000.
    assert 36 <= sum(text == "refined" for text in first.values()) <= 84
    assert drawn(1) == first != drawn(2)
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    assert drawn(1) == first  # by the image, not by its place


def test_a_real_tar_of_receipts(read_all: Reader, shared_data: Callable[[str], Path]) -> None:
    found = read_all(
        paths=(str(shared_data("f_vision_language/sroie_receipts.tar")),), format="image-text",
        fields=Fields(caption="address", metadata=("total", "date")), images=ANY_SIZE,
    )  # fmt: skip
    assert (len(found.records), found.refused) == (45, [])
    assert found.records[0].images[0].ref == "002.jpg"
    assert found.records[0].text == f"{MARK}\n" + found.records[0].metadata["caption"]
    assert found.records[0].metadata["total"] == "33.90"


@pytest.mark.parametrize("folder", ["docs", "döcs%"])
def test_images_beside_a_file_of_an_installed_distribution(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "b%41.png").write_bytes(A)
    plain = str(tmp_path / folder / "a.jsonl")
    for locator in (plain, "file://" + quote(plain)):
        beside = Beside(SourceSpec("s"), Item(f"pkg/{folder}/a.jsonl", locator, "image-text", 9))
        name = beside.name_of("b%41.png")
        assert (name, beside.read(name, 1 << 20)) == (f"pkg/{folder}/b%41.png", A)
        assert beside.name_of("../x/c.png") == "pkg/x/c.png"
        with pytest.raises(Refusal, match="outside"):
            beside.name_of("../../other/c.png")


def test_what_the_images_of_a_row_cost_is_bounded(
    tmp_path: Path, read_all: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.png").write_bytes(A)
    row = {"image": ["1.png"] * 5, "caption": "Five times."}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")

    def reasons(**limits: int) -> list[str]:
        found = read_all(format="image-text", include=("*.jsonl",), limits=Limits(**limits))
        return [reason for _, _, reason in found.refused]

    assert reasons() == []
    assert reasons(max_record_bytes=4 * len(A)) == ["record-too-large"]
    monkeypatch.setattr("dataflow.sources.formats.picture.RECORD_PIXELS", 1e-3)
    assert reasons() == ["work-budget"]


def test_names_that_are_not_unicode_are_shown_with_replacements(
    tmp_path: Path, read_all: Reader
) -> None:
    sink = io.BytesIO()
    with tarfile.open(
        fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT, encoding="latin-1"
    ) as archive:
        for name, data in (("ü.png", A), ("ü.txt", b"One."), ("ö.txt", b"None."), ("ä.ö", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (tmp_path / "a.tar").write_bytes(sink.getvalue())
    (tmp_path / "b.csv").write_bytes("image,käption\n1.png,x\n".encode("latin-1"))
    found = read_all(format="image-text")
    assert pairs(found) == [("One.", "png", "\ufffd.png")]
    reasons = [reason for _, _, reason in found.refused]
    assert reasons == ["image-missing", "image-missing", "encoding"]
    assert all(o.detail.encode() for o in found.all if hasattr(o, "detail"))
