"""The generators: same arguments, same bytes; distinct documents; planted copies as declared."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType

from benchmarks.generate.documents import BLOCK, Shape, documents, write_documents
from benchmarks.generate.pages import load_pages, synthetic_pages
from benchmarks.generate.rewrite import Rewriter
from benchmarks.generate.vocabulary import FUNCTION_WORDS, generator, vocabulary
from benchmarks.generate.web import Crawl, web_pages, write_warcs


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[i:] for i in range(5)), strict=False))


def test_a_vocabulary_is_distinct_words_and_begins_with_the_commonest() -> None:
    words = vocabulary(5000, 3)
    assert len(set(words)) == 5000
    assert list(words[: len(FUNCTION_WORDS)]) == FUNCTION_WORDS
    assert all(re.fullmatch("[a-z]+", word) for word in words)
    with pytest.raises(ValueError, match="a vocabulary of 3 words"):
        vocabulary(3, 0)


def test_documents_repeat_for_a_seed_and_differ_for_another() -> None:
    first = [d.text for d in documents(300, Shape(seed=1))]
    assert first == [d.text for d in documents(300, Shape(seed=1))]
    assert not set(first) & {d.text for d in documents(300, Shape(seed=2))}


def test_more_documents_begin_with_fewer_documents() -> None:
    few = list(documents(BLOCK + 70))
    more = list(documents(2 * BLOCK))
    assert more[: len(few)] == few


def test_documents_are_distinct_except_for_the_planted_copies() -> None:
    made = list(documents(2 * BLOCK))
    base = {d.text for d in made if d.kind == "base"}
    assert len(base) == sum(d.kind == "base" for d in made)
    copies = [d for d in made if d.kind != "base"]
    assert len(copies) == 2 * sum(Shape().planted)
    for copy in copies:
        assert copy.original is not None
        original = made[copy.original]
        assert original.kind == "base"
        mine, theirs = shingles(copy.text), shingles(original.text)
        similarity = len(mine & theirs) / len(mine | theirs)
        if copy.kind == "exact":
            assert copy.text == original.text
        else:
            assert copy.text != original.text
            assert similarity > 0.75
    near = [d for d in copies if d.kind == "near"]
    assert len({d.text for d in near} - base) > 0.9 * len(near)


def test_documents_read_like_text() -> None:
    for document in documents(20):
        assert document.text[0].isupper()
        assert document.text.endswith(".")
        assert 60 <= len(document.text.split()) <= 2000


@pytest.mark.parametrize("form", ["jsonl", "jsonl.zst", "parquet"])
def test_written_documents_are_the_documents_in_every_form(tmp_path: Path, form: str) -> None:
    parts = write_documents(tmp_path / "docs", 250, form=form, per_file=100)  # type: ignore[arg-type]
    assert [part.name for part in parts] == [f"part-{i:05d}.{form}" for i in range(3)]
    rows = []
    for part in parts:
        if form == "parquet":
            rows += pq.read_table(part).to_pylist()
            continue
        data = part.read_bytes()
        if form == "jsonl.zst":
            data = zstandard.ZstdDecompressor().decompress(data)
        rows += [orjson.loads(line) for line in data.splitlines()]
    assert [row["text"] for row in rows] == [d.text for d in documents(250)]
    assert [row["id"] for row in rows] == [str(i) for i in range(250)]
    again = write_documents(tmp_path / "again", 250, form=form, per_file=100)  # type: ignore[arg-type]
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in parts]


def test_web_pages_repeat_and_are_distinct_and_keep_their_tags() -> None:
    templates = synthetic_pages(6)
    made = list(web_pages(templates, 60))
    assert made == list(web_pages(templates, 60))
    base = [page for page in made if page.kind == "base"]
    assert len({page.html for page in base}) == len(base)
    assert len({page.uri for page in made}) == len(made)
    tags = {tuple(re.findall(rb"<[a-z/!][^>]*>", template.html)) for template in templates}
    assert all(tuple(re.findall(rb"<[a-z/!][^>]*>", page.html)) in tags for page in base)
    lengths = {len(template.html) for template in templates}
    assert all(len(page.html) in lengths for page in base)
    markup = rb"(?s)<(style|script).*?</\1>|<[^>]*>"
    texts = [shingles(re.sub(markup, b" ", page.html).decode()) for page in base[:12]]
    for i, left in enumerate(texts):
        for right in texts[:i]:
            assert len(left & right) < 0.2 * len(left | right)


def test_planted_pages_copy_base_pages() -> None:
    made = list(web_pages(synthetic_pages(6), 300, Crawl(seed=4, near=0.1, exact=0.1)))
    kinds = [page.kind for page in made]
    assert 10 < kinds.count("near") < 60
    assert 10 < kinds.count("exact") < 60
    for page in made:
        if page.original is None:
            continue
        original = made[page.original]
        assert original.kind == "base"
        if page.kind == "exact":
            assert page.html == original.html
        else:
            mine, theirs = (shingles(p.html.decode()) for p in (page, original))
            assert len(mine & theirs) > 0.8 * len(mine | theirs)


def test_warc_files_repeat_and_hold_the_pages_however_they_are_cut(tmp_path: Path) -> None:
    templates = synthetic_pages(5)
    expected = [(page.uri, page.html) for page in web_pages(templates, 40)]
    for per_file in (40, 15):
        files = write_warcs(tmp_path / str(per_file), templates, 40, Crawl(per_file=per_file))
        found = []
        for file in files:
            with file.open("rb") as stream:
                for record in ArchiveIterator(
                    stream, record_types=WarcRecordType.response, verify_digests=True
                ):
                    assert record.http_headers.status_code == 200
                    found.append((record.headers["WARC-Target-URI"], record.reader.read()))
        assert found == expected
    again = write_warcs(tmp_path / "again", templates, 40, Crawl(per_file=15))
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
    # Written WARC files serve as templates too.
    assert {page.html for page in load_pages([tmp_path / "again"])} == {h for _, h in expected}


def test_pages_of_other_encodings_and_scripts_stay_what_they_are() -> None:
    latin = (
        b'<html lang="de"><body><p>Stra\xdfe Gr\xfc\xdfe wohnung kaufen mieten</p></body></html>'
    )
    han = '<html lang="zh"><body><p>今天天气很好我们去公园走走</p></body></html>'.encode()
    template = synthetic_pages(1)[0]
    pages = [type(template)("latin", latin), type(template)("han", han), template]
    rewriter = Rewriter(pages)
    made = b"".join(rewriter.rewrite(0, generator(1)))
    assert len(made) == len(latin)
    assert b"\xdf" in made
    other = b"".join(rewriter.rewrite(1, generator(1))).decode()
    assert len(other) == len(han.decode())
    assert len(re.findall("[一-龥]", other)) == 13


def test_a_folder_without_pages_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"no HTML page found; expected \.html files"):
        load_pages([tmp_path])
