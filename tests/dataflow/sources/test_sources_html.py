from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from dataflow.sources import Limits, Record, SourceSpec
from dataflow.sources.extract import extract
from dataflow.sources.refusal import Refusal
from dataflow.sources.rights import spdx_of
from kernels.html import is_harmless, measure

Reader = Callable[..., Any]
PROSE = "This sentence is part of the main content and long enough to be seen as such. " * 4
PAGE = """<!doctype html><html><head><title>T</title>
<META NAME="Robots" CONTENT="noindex, NoAI"><meta name="tdm-reservation" content="1">
<meta name=tdm-policy content='https://a.example/policy'></head><body>
<nav><a href="/">Home</a> <a href="/x">Elsewhere</a></nav>
<article><h1>Heading</h1><p>{}</p><ul><li>item one</li></ul></article>
<footer><a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">CC</a></footer>
</body></html>"""


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_the_work_budget_sees_through_encodings(encoding: str) -> None:
    deep = ("<!doctype html><body>" + "<div>" * 100_000 + PROSE).encode(encoding)
    with pytest.raises(Refusal, match="open elements") as refused:
        extract(deep, None, SourceSpec("s", paths=()))
    assert refused.value.reason == "work-budget"


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_main_content_and_rights(tmp_path: Path, read_all: Reader, extractor: str) -> None:
    (tmp_path / "a.html").write_text(PAGE.format(PROSE))
    (record,) = read_all(html=extractor).records
    assert PROSE.strip() in record.text
    assert "Elsewhere" not in record.text
    assert record.license == "CC-BY-SA-4.0"
    assert record.rights == (
        "robots:noai",
        "robots:noindex",
        "tdm:policy=https://a.example/policy",
        "tdm:reservation",
    )
    assert record.media_type == "text/html"


@pytest.mark.parametrize(
    ("url", "spdx"),
    [
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("http://www.creativecommons.org/licenses/by-nc-nd/3.0/de/", "CC-BY-NC-ND-3.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("https://creativecommons.org/about", None),
    ],
)
def test_creative_commons_addresses(url: str, spdx: str | None) -> None:
    assert spdx_of(url) == spdx


@pytest.mark.parametrize(
    "body",
    [
        "<div>" * 100_000 + PROSE + "</div>" * 100_000,
        "<div></span>" * 100_000 + PROSE,
        "<div><object></div></object>" * 50_000 + PROSE,
        '<div title="</div>">' * 100_000 + PROSE,
        "<b>" * 100_000 + PROSE,
        "<table><tr><td>" * 50_000 + PROSE,
        "<ul><li>" * 50_000 + PROSE,
        "<p><p>" + "<span>" * 100_000 + PROSE,
        "<svg>" * 100_000 + PROSE,
        "<div>" + "".join(f"<b id={i}>" for i in range(3000)) + "</div>" + "<p>x</p>" * 20_000,
        "<svg><title>" + "<div>" * 100_000 + PROSE,
        '<div a=b=">' + "<div>" * 100_000 + '<div a=b=">' + PROSE,
        "<!-- --!>" + "<div>" * 100_000 + "<!-- -->" + PROSE,
        "<rt>x" * 100_000 + PROSE,
        "<div " + " ".join(f"a{i}=1" for i in range(200_000)) + ">" + PROSE,
        "<div " + " ".join(f"a{i}='<'" for i in range(100_000)) + ">" + PROSE,
        "<select>" + "<option>x" * 100_000 + "</select>" + PROSE,
        "<form>" * 10 + "<font color=red>" * 100_000 + PROSE,
    ],
    ids=range(18),
)
@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_a_page_cannot_ask_for_unbounded_work(
    tmp_path: Path, read_all: Reader, body: str, extractor: str
) -> None:
    (tmp_path / "a.html").write_text(f"<html><body>{body}</body></html>")
    found = read_all(html=extractor)
    assert len(found.all) == 1
    assert [r for _, _, r in found.refused] == ["work-budget"]


@pytest.mark.parametrize(
    "body",
    [
        "<div>" * 1900 + PROSE + "</div>" * 1900,
        "<b>" * 2000 + PROSE + "<p>x" * 1000,
        "<p>" * 30_000 + PROSE,
        "<a href=x>" * 30_000 + PROSE,
        "<li>item " * 30_000,
        "<br>" * 50_000 + PROSE,
        "<div>x</div>" * 50_000 + PROSE,
        "<script>" + '"<div>"+' * 50_000 + "</script>" + PROSE,
        "<!--" + "<div>" * 50_000 + "-->" + PROSE,
        "<div " + "a " * 20_000 + ">" + PROSE,
        "<div " + " ".join(f"a{i}=1" for i in range(5_000)) + ">" + PROSE,
        "&amp;" * 200_000 + PROSE,
        "<!-" * 100_000 + PROSE,
        "<![CDATA[" * 30_000 + PROSE,
        "<select>" + "<option>x" * 5_000 + "</select>" + PROSE,
    ],
    ids=range(15),
)
def test_large_pages_without_depth_are_read(tmp_path: Path, read_all: Reader, body: str) -> None:
    (tmp_path / "a.html").write_text(f"<html><body><p>{PROSE}</p>{body}</body></html>")
    found = read_all()
    assert len(found.all) == 1
    assert all(r == "no-text" for _, _, r in found.refused)


def depth_of(html: str) -> int:
    """The deepest element that a real parser makes of ``html``, counting nestable ones only."""
    flat = {"html", "head", "body", "tbody", "br", "title"}
    deepest = 0
    todo: list[tuple[Any, int]] = [(HTMLTree.parse(html).document, 0)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        for child in node.child_nodes:
            tag = (child.tag or "").lower()
            counted = tag and not tag.startswith(("#", "!")) and tag not in flat
            todo.append((child, depth + bool(counted)))
    return deepest


NAMES = [
    "div",
    "b",
    "span",
    "table",
    "td",
    "p",
    "ul",
    "li",
    "a",
    "object",
    "br",
    "svg",
    "title",
    "form",
    "label",
    "h1",
    "dd",
    "section",
]
TAGS = st.sampled_from(NAMES)


@given(st.lists(st.tuples(TAGS, st.booleans()), max_size=12))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_depth_grows_as_the_parsers_does(tags: list[tuple[str, bool]]) -> None:
    """A pattern that nests ever deeper in a parser does so here, up to a small factor."""
    html = 20 * "".join(f"</{name}>" if close else f"<{name}>" for name, close in tags)
    assert 3 * measure(html.encode(), 10_000).depth + 6 >= depth_of(html)


@given(st.binary(max_size=300) | st.text(alphabet="<>/!-=\"' abdiv", max_size=200))
@settings(deadline=None, max_examples=300)
def test_any_bytes_can_be_measured(html: bytes | str) -> None:
    data = html.encode() if isinstance(html, str) else html
    found = measure(data, 5)
    assert found.depth >= 0
    assert found.stopped == (found.depth >= 6)


def test_limits_are_the_recipes(tmp_path: Path) -> None:
    page = f"<html><body>{'<div><p>x</p></div>' * 3000}<p>{PROSE}</p></body></html>".encode()
    assert not is_harmless(page)
    for limits in (
        Limits(max_html_bytes=1000),
        Limits(max_html_tags=5000),
        Limits(max_html_work=1000),
    ):
        with pytest.raises(Refusal) as caught:
            extract(page, None, SourceSpec("s", limits=limits))
        assert caught.value.reason == "work-budget"
    assert extract(page, None, SourceSpec("s")).text


def test_charsets_of_pages(tmp_path: Path, read_all: Reader) -> None:
    text = "Größe und Übermaß; ein ganzer Satz mit Umlauten, damit er als Inhalt gilt. " * 4
    page = "<html><head><meta charset={}></head><body><p>" + text + "</p></body></html>"
    (tmp_path / "a.html").write_bytes(page.format("iso-8859-1").encode("cp1252"))
    (tmp_path / "b.html").write_bytes(page.format("iso-8859-1").encode())
    (tmp_path / "c.html").write_bytes(page.format("utf-8").encode("utf-16"))
    (tmp_path / "d.html").write_bytes(page.format("koi8-r").encode("utf-8-sig"))
    records = read_all().records
    assert [r.encoding for r in records] == ["cp1252", "utf-8", "utf-16-le", "utf-8"]
    assert all(text.strip() in r.text for r in records)


def normal(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()


@pytest.mark.parametrize(("extractor", "kept", "dropped"), [("resiliparse", 0.85, 0.6)])
def test_gold_segments_of_real_pages(
    shared_data: Callable[[str], Path], extractor: str, kept: float, dropped: float
) -> None:
    """Segments that a person marked as content are there, those marked as boilerplate are not."""
    gold = json.loads(shared_data("b_extraction_gold/trafilatura_gold.json").read_text())
    packed = shared_data("b_extraction_gold/trafilatura_html.tar.zst").read_bytes()
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    pages = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar:
            if member.isfile():
                file = tar.extractfile(member)
                assert file is not None
                pages[Path(member.name).name] = file.read()
    found = {"with": [0, 0], "without": [0, 0]}
    spec = SourceSpec("s", html=extractor)
    for entry in list(gold.values())[::3]:
        html = pages[Path(entry["file"]).name]
        try:
            text = normal(extract(html, None, spec).text)
        except Refusal:
            text = ""
        for key, wanted in (("with", True), ("without", False)):
            for segment in entry[key]:
                if normal(segment):
                    found[key][0] += (normal(segment) in text) == wanted
                    found[key][1] += 1
    assert found["with"][0] >= kept * found["with"][1]
    assert found["without"][0] >= dropped * found["without"][1]


def test_outcomes_are_records(tmp_path: Path, read_all: Reader) -> None:
    (tmp_path / "a.html").write_text(PAGE.format(PROSE))
    (tmp_path / "b.html").write_text("<html><body><img src=x></body></html>")
    found = read_all()
    assert isinstance(found.all[0], Record)
    assert found.refused == [("b.html", 0, "no-text")]
