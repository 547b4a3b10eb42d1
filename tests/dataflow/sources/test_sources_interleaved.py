"""HTML pages with their images: files, archives, and images inside of pages."""

from __future__ import annotations

import base64
import gzip
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from selectolax.lexbor import LexborHTMLParser

from dataflow.sources import Limits, SourceSpec, plan
from dataflow.sources.formats.gathered import Gathered
from dataflow.sources.formats.page_images import page_images
from dataflow.sources.formats.picture import ImageRefusal
from tests.dataflow.sources.made_pairs import image
from vl_data.hygiene import inspect
from vl_data.images import FOREIGN_MARK, MARK
from vl_data.limits import Limits as ImageLimits

Reader = Callable[..., Any]
PROSE = "This sentence is part of the main content and long enough to be seen as such. " * 4
A, B = image(1), image(2, kind="jpeg")
ICON = image(3, (16, 16))

BODY = f"""<article><h1>Heading</h1><p>{PROSE}</p>
<figure><img src="img/a%20b.png" alt=" A  picture "><figcaption>Figure <b>1</b>. Of it.<p>More.</p>
</figcaption></figure>
<p>{PROSE} An icon <img src="icon.png"> in the line and a mark {MARK} of its own.</p>
<div class="wp-caption"><img src="/c.jpg" data-src="../up.png" srcset="b.jpg 2x, c.jpg 1x">
<p class="wp-caption-text">Said of it.</p></div>
<p>{PROSE}</p><img src="gone.png" alt="gone"><p>End.</p></article>"""


def page(body: str = BODY, head: str = "") -> str:
    nav = (
        '<nav><a href="/"><img src="logo.png" alt="Logo">Home</a> <a href="/x">Elsewhere</a></nav>'
    )
    return (
        f"<!doctype html><html><head><title>T</title>{head}</head><body>{nav}{body}</body></html>"
    )


def write(folder: Path) -> None:
    for name, data in (
        ("sub/img/a b.png", A), ("sub/icon.png", ICON), ("sub/b.jpg", B), ("sub/logo.png", B),
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "sub" / "a.html").write_text(page())


def test_text_and_images_in_document_order(tmp_path: Path, read_all: Reader) -> None:
    write(tmp_path)
    (record,) = read_all(html="interleaved", include=("**/*.html",)).records
    first, second = record.images
    lines = [line for line in record.text.split("\n") if line]
    assert lines[0] == "Heading"
    places = [lines.index(MARK), len(lines) - 1 - lines[::-1].index(MARK)]
    assert lines[places[0] + 1] == "Figure 1. Of it."
    assert lines[places[1] + 1] == "Said of it."
    assert record.text.count(MARK) == 2
    assert f"An icon in the line and a mark {FOREIGN_MARK} of its own." in record.text
    assert (first.ref, first.alt, first.caption) == (
        "sub/img/a b.png", "A picture", "Figure 1. Of it. More.",
    )  # fmt: skip
    assert (second.ref, second.alt, second.caption) == ("sub/b.jpg", None, "Said of it.")
    assert (first.data, second.data) == (A, B)
    (gone,) = record.refused
    assert (gone.ref, gone.reason, gone.number) == ("sub/gone.png", "image-missing", 3)
    assert gone.detail == "there is no such file"
    assert record.metadata == {"decorations": 1}
    assert "Elsewhere" not in record.text
    assert str(tmp_path) not in repr(record)


def test_the_text_is_that_of_the_page_without_images(tmp_path: Path, read_all: Reader) -> None:
    write(tmp_path)
    (with_images,) = read_all(html="interleaved", include=("**/*.html",)).records
    (without,) = read_all(include=("**/*.html",)).records
    words = with_images.text.replace(MARK, "").replace(FOREIGN_MARK, MARK)
    for caption in ("Figure 1. Of it.\nMore.", "Figure 1. Of it.\n\nMore."):
        words = words.replace(caption, "")  # the extractor leaves figures out of text alone
    assert words.split() == without.text.split()


@pytest.mark.parametrize("body", [
    f"<p>{PROSE} {MARK}</p>",
    f"<p>{PROSE}</p><img src='icon.png'><p>{PROSE}</p>",
    f"<p>{PROSE}</p><img src='gone.png'><p>{PROSE} {MARK}</p>",
    f"<p>{PROSE}</p><img alt='nothing'><p>{PROSE}</p>",
])  # fmt: skip
def test_a_page_none_of_whose_images_are_used_stays_as_it_is(
    tmp_path: Path, read_all: Reader, body: str
) -> None:
    (tmp_path / "icon.png").write_bytes(ICON)
    (tmp_path / "a.html").write_text(page(body))
    (found,) = read_all(html="interleaved", include=("*.html",)).records
    (plain,) = read_all(include=("*.html",)).records
    assert (found.text, found.images, found.digest) == (plain.text, (), plain.digest)


def test_an_address_cannot_leave_the_source(tmp_path: Path, read_all: Reader) -> None:
    (tmp_path / "secret.png").write_bytes(A)
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "inside.png").write_bytes(B)
    os.mkfifo(root / "pipe.png")
    addresses = [
        "../../secret.png", "../../../../../../../../secret.png", f"file://{tmp_path}/secret.png",
        f"{tmp_path}/secret.png", "http://a.example/x.png", "//a.example/x.png", "http://[x.png",
        "..%2F..%2Fsecret.png", "a%00b.png", "../pipe.png", "..", "x" * 300 + ".png",
    ]  # fmt: skip
    shown = "".join(f"<p>{PROSE}</p><img src='{a}'>" for a in addresses)
    (root / "deep" / "a.html").write_text(page(f"<p>{PROSE}</p><img src='../inside.png'>{shown}"))
    (record,) = read_all(paths=(str(root),), html="interleaved", include=("**/*.html",)).records
    assert [i.ref for i in record.images] == ["inside.png"]
    assert [r.reason for r in record.refused] == ["image-missing"] * len(addresses)
    details = [r.detail for r in record.refused]
    assert details[0] == "lies outside of the source's folder"
    assert details[4] == "nothing is fetched from the web"


def test_images_inside_of_the_page_and_lazy_ones(tmp_path: Path, read_all: Reader) -> None:
    spacer = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    inline = "data:image/png;base64," + base64.b64encode(A).decode()
    body = (
        f"<p>{PROSE}</p><img src='{inline}' alt=in><p>{PROSE}</p>"
        f"<img src='{spacer}' data-src='b.jpg'><img src='{spacer}'><p>{PROSE}</p>"
        "<img src='data:image/png;base64,@@@@'><img src='data:image/svg+xml,<svg/>'>"
        "<img src='b.jpg' width=1 height=1><img src='b.jpg' role=presentation>"
    )
    (tmp_path / "b.jpg").write_bytes(B)
    (tmp_path / "a.html").write_text(page(body))
    (record,) = read_all(html="interleaved", include=("*.html",)).records
    assert [(i.ref, i.alt) for i in record.images] == [("data:image/png", "in"), ("b.jpg", None)]
    assert [(r.ref[:5], r.reason) for r in record.refused] == [
        ("data:", "image-corrupt"), ("data:", "image-format"),
    ]  # fmt: skip
    assert record.metadata == {"decorations": 1}


def test_tokens_in_the_page_are_text(tmp_path: Path, read_all: Reader) -> None:
    fences = "".join(f"&#xE00{n};7&#xE00{n};" for n in range(4))
    (tmp_path / "b.jpg").write_bytes(B)
    (tmp_path / "a.html").write_text(page(f"<p>{PROSE} {fences}</p><img src=b.jpg><p>{PROSE}</p>"))
    (record,) = read_all(html="interleaved", include=("*.html",)).records
    assert "\ue0007\ue000\ue0017\ue001" in record.text
    assert record.text.count(MARK) == len(record.images) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<div>" * 100_000 + "<img src=a.png>" + PROSE + "</div>" * 100_000,
        "<b>" * 100_000 + "<img src=a.png>" + PROSE,
        "<figure>" * 100_000 + "<img src=a.png>" + PROSE,
        "<div " + " ".join(f"a{i}=1" for i in range(200_000)) + "><img src=a.png>" + PROSE,
    ],
    ids=range(4),
)
def test_the_work_of_a_page_is_bounded(tmp_path: Path, read_all: Reader, body: str) -> None:
    (tmp_path / "a.html").write_text(page(body))
    found = read_all(html="interleaved")
    assert [r for _, _, r in found.refused] == ["work-budget"]


def test_many_images_take_time_in_proportion(tmp_path: Path, read_all: Reader) -> None:
    (tmp_path / "icon.png").write_bytes(ICON)
    shown = "<figure class=figure><img src=icon.png><figcaption>c</figcaption></figure>" * 3000
    (tmp_path / "a.html").write_text(
        page(f"<article><p>{PROSE}</p>{shown}<p>{PROSE}</p></article>")
    )
    (record,) = read_all(html="interleaved", include=("*.html",)).records
    assert record.metadata == {"decorations": 3000}


def warc(target: str, body: bytes, media_type: str, status: str = "200 OK") -> bytes:
    block = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n\r\n".encode() + body
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {target}\r\n"
    head += "WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: application/http; msgtype=response\r\n"
    return f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


@pytest.mark.parametrize("packing", ["plain", "members", "zstd"])
def test_pages_of_an_archive_show_its_images(
    tmp_path: Path, read_all: Reader, packing: str
) -> None:
    host = "http://a.example/x"
    records = [
        warc(f"{host}/img/a%20b.png", A, "image/png"),
        warc(f"{host}/page.html", page().encode(), "text/html"),
        warc("https://a.example/up.png", B, "binary/octet-stream"),
        warc(f"{host}/gone.png", b"<html>not found", "text/html", "404 Not Found"),
        warc(f"{host}/icon.png", ICON, "image/png"),
        warc(f"{host}/plain.html", page(f"<p>{PROSE}</p>").encode(), "text/html"),
    ]
    packs: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes, "members": gzip.compress, "zstd": zstandard.compress,
    }  # fmt: skip
    pack = packs[packing]
    (tmp_path / "a.warc").write_bytes(b"".join(map(pack, records)))
    found = read_all(html="interleaved")
    first, second = found.records
    assert [i.ref for i in first.images] == [f"{host}/img/a%20b.png", "http://a.example/up.png"]
    assert [i.data for i in first.images] == [A, B]
    assert [(r.ref, r.reason, r.detail) for r in first.refused] == [
        (f"{host}/gone.png", "image-missing", "not in the archive")
    ]
    assert first.metadata["decorations"] == 1
    assert (second.images, first.metadata["url"]) == ((), f"{host}/page.html")
    assert [r for _, _, r in found.refused] == [
        "media-type", "media-type", "http-status", "media-type",
    ]  # fmt: skip
    plain = read_all()
    assert [(o.uri, o.offset) for o in plain.all] == [(o.uri, o.offset) for o in found.all]


def test_a_base_address_and_a_damaged_archive(tmp_path: Path, read_all: Reader) -> None:
    body = f"<p>{PROSE}</p><img src=1.png><p>{PROSE}</p>"
    with_base = page(body, "<base href='//a.example/'>").encode()
    records = [
        warc("http://a.example/1.png", A, "image/png"),
        warc("http://b.example/page", with_base, "text/html"),
        warc("http://a.example/2.png", A, "image/png"),
    ]
    (tmp_path / "a.warc.gz").write_bytes(
        b"".join(map(gzip.compress, records[:2])) + gzip.compress(records[2])[:-50]
    )
    found = read_all(html="interleaved")
    assert [[i.ref for i in r.images] for r in found.records] == [["http://a.example/1.png"]]
    assert [r for _, _, r in found.refused] == ["media-type", "truncated"]


def test_images_over_the_limits(tmp_path: Path, read_all: Reader) -> None:
    write(tmp_path)
    found = read_all(
        html="interleaved", include=("**/*.html",), images=ImageLimits(max_bytes=len(A) - 1)
    )
    (record,) = found.records
    first = record.refused[0]
    assert (first.ref, first.reason) == ("sub/img/a b.png", "image-too-large")
    assert A not in [i.data for i in record.images]
    tight = read_all(html="interleaved", include=("**/*.html",), limits=Limits(max_html_bytes=100))
    assert [r for _, _, r in tight.refused] == ["work-budget"]


def test_the_debian_handbook_and_scikit_image_with_their_figures(
    tmp_path: Path, read_all: Reader, shared_data: Callable[[str], Path]
) -> None:
    packed = shared_data("f_vision_language/debian_handbook_html.tar.zst").read_bytes()
    plain = tmp_path / "handbook.tar"
    plain.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
    with tarfile.open(plain) as archive:
        wanted = [m for m in archive if m.name.startswith("en-US/")]
        archive.extractall(tmp_path / "handbook", wanted, filter="data")
    found = read_all(
        paths=(str(tmp_path / "handbook"),), html="interleaved", include=("**/*.html",)
    )
    images = [i for r in found.records for i in r.images]
    assert len(images) >= 40
    assert sum(i.caption is not None for i in images) > 0.8 * len(images)
    assert all(r.text.count(MARK) == len(r.images) for r in found.records if r.images)
    with tarfile.open(shared_data("f_vision_language/skimage_doc_html.tar.gz")) as archive:
        archive.extractall(tmp_path / "skimage", filter="data")
    found = read_all(paths=(str(tmp_path / "skimage"),), html="interleaved", include=("**/*.html",))
    images = [i for r in found.records for i in r.images]
    assert len(images) >= 30
    assert sum(i.alt is not None for i in images) > 0.8 * len(images)


def test_a_changed_image_changes_the_plan_of_pages_with_images(tmp_path: Path) -> None:
    write(tmp_path)

    def fingerprint(html: str) -> str:
        spec = SourceSpec("s", paths=(str(tmp_path),), include=("**/*.html",), html=html)
        (partition,) = plan(spec, 1 << 30)
        return partition.fingerprint

    before = [fingerprint("interleaved"), fingerprint("resiliparse")]
    assert fingerprint("interleaved") == before[0]
    (tmp_path / "sub" / "b.jpg").write_bytes(A)
    assert fingerprint("interleaved") != before[0]
    assert fingerprint("resiliparse") == before[1]


def test_what_images_of_a_page_cost_is_bounded(
    tmp_path: Path, read_all: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    (tmp_path / "b.jpg").write_bytes(B)
    (tmp_path / "c.png").write_bytes(A)
    shown = "<img src=b.jpg><p>" + PROSE + "</p>"
    (tmp_path / "a.html").write_text(page(shown * 40 + "<img src=c.png><p>End.</p>"))
    decoded: list[int] = []

    def counted(data: bytes, limits: ImageLimits) -> Any:
        decoded.append(len(data))
        return inspect(data, limits)

    monkeypatch.setattr("dataflow.sources.formats.picture.inspect", counted)
    (record,) = read_all(html="interleaved", include=("a.html",)).records
    assert (len(record.images), len(decoded)) == (41, 2)
    few = read_all(html="interleaved", include=("a.html",), limits=Limits(max_html_images=20))
    assert [r for _, _, r in few.refused] == ["work-budget"]
    monkeypatch.setattr("dataflow.sources.formats.picture.RECORD_PIXELS", 1)
    limits = ImageLimits(max_pixels=200 * 160 + 1)
    (record,) = read_all(html="interleaved", include=("a.html",), images=limits).records
    assert [r.reason for r in record.refused] == ["work-budget"] * 40
    assert len(record.images) == 1
    monkeypatch.undo()
    tight = Limits(max_record_bytes=len(B) + 10)
    gathered = Gathered(
        SourceSpec("s", limits=tight), "http://a.example/", lambda a: (a, A if "c" in a[-5:] else B)
    )
    node = LexborHTMLParser("<img src=b.jpg><img src=c.png>")
    first, second = page_images(node)
    assert gathered.picture(first) is not None
    with pytest.raises(ImageRefusal, match="work-budget"):
        gathered.picture(second)


def test_logos_are_ornaments_and_strips_are_refused(tmp_path: Path, read_all: Reader) -> None:
    for name, size in (("logo.png", (192, 50)), ("strip.png", (3000, 10)), ("part.png", (100, 60))):
        (tmp_path / name).write_bytes(image(5, size))
    names = ("logo", "strip", "part")
    body = "".join(f"<p>{PROSE}</p><img src={name}.png>" for name in names)
    (tmp_path / "a.html").write_text(page(body))
    (record,) = read_all(html="interleaved", include=("*.html",)).records
    assert [(r.ref, r.reason) for r in record.refused] == [("strip.png", "image-aspect")]
    assert record.metadata == {"decorations": 2}
    small = ImageLimits(min_side=40, max_aspect=8)
    (record,) = read_all(html="interleaved", include=("*.html",), images=small).records
    assert [i.ref for i in record.images] == ["logo.png", "part.png"]


def test_captions_of_a_figure_of_many_images_take_time_in_proportion(
    tmp_path: Path, read_all: Reader
) -> None:
    (tmp_path / "b.jpg").write_bytes(B)
    inside = "<img src=b.jpg><figcaption>Said of all.</figcaption>" + "<img src=b.jpg>" * 4999
    body = f"<article><p>{PROSE}</p><figure>{inside}</figure><p>{PROSE}</p></article>"
    (tmp_path / "a.html").write_text(page(body))
    (record,) = read_all(html="interleaved", include=("*.html",)).records
    assert len(record.images) == 5000
    assert {i.caption for i in record.images} == {"Said of all."}
