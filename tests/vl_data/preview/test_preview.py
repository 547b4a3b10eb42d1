"""``python -m vl_data preview``: what it draws and shows is what the shards hold."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer as Model
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from dataflow.tokenizer import Tokenizer
from tests.vl_data.made_images import encode, pixels
from tests.vl_data.made_runs import Made, make_run, marked
from vl_data.command import main
from vl_data.images import MARK
from vl_data.mix.chat import chat_of
from vl_data.mix.turns import Turn
from vl_data.pixels import tile_bytes
from vl_data.preview.draw import draw
from vl_data.preview.sample import read_samples
from vl_data.preview.spelling import Speller
from vl_data.runs.folder import RunFolder
from vl_data.tiling import plan

PICTURE = encode(pixels(80, 60), "png"), 80, 60
STRIP = encode(pixels(30, 200, 1), "png"), 30, 200
HOSTILE = "<script>alert(1)</script> & “größer” \x1b[0m \u202e 日本語 🦎"


def _chat(question: str, answer: str) -> dict[str, Any]:
    chat = chat_of([Turn("user", f"<image>\n{question}"), Turn("assistant", answer)], 1)
    loss = tuple(place for span in chat.loss for place in span)
    return {"text": chat.text, "loss": loss, "images": (STRIP,)}


DOCUMENTS = [
    *(Made("descriptions", **marked(f"Picture number {i}.", PICTURE)) for i in range(6)),
    Made("instructions", **_chat(HOSTILE, "The answer <b>is</b> größer.")),
    Made("instructions", **_chat("How many?", "Three.")),
    Made("pages", f"One {MARK} and two {MARK}.", (STRIP, PICTURE), split="heldout"),
    *(Made("news", f"Plain text {i}.") for i in range(3)),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "pictures", DOCUMENTS, tokenizer)


def _made(
    capsys: pytest.CaptureFixture[str], run: Path, out: Path, *arguments: object
) -> tuple[int, dict[str, Any]]:
    told = ["preview", str(run), "--out", str(out), "--tiling", "tiny56", *map(str, arguments)]
    code = main([*told, "--json"])
    return code, json.loads(capsys.readouterr().out)


class _Page(HTMLParser):
    """Tags and attributes of a page, and the text inside of elements of a class or name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "image", "rect", "link"):
            self._open.append(f"{tag}.{dict(attrs).get('class') or ''}")
            self.inside.setdefault(self._open[-1], []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("image", "rect"):
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in self._open:
            self.inside[name][-1] += data


def test_documents_are_drawn_evenly_by_hash(run: Path) -> None:
    folder = RunFolder.load(run)
    drawn = [one.row["doc_id"] for one in draw(folder, 5, 0)]
    sources = [one.row["source"] for one in draw(folder, 5, 0)]
    assert sources == ["descriptions"] * 2 + ["instructions"] * 2 + ["pages"]
    assert drawn == [one.row["doc_id"] for one in draw(folder, 5, 0)]
    others = {tuple(one.row["doc_id"] for one in draw(folder, 5, seed)) for seed in range(8)}
    assert len(others) > 1
    # Fewer are a part of more: neither the count nor the order of shards decides.
    assert set(drawn) < {one.row["doc_id"] for one in draw(folder, 8, 0)}
    assert len(draw(folder, 100, 0)) == 9
    assert {one.row["source"] for one in draw(folder, 100, 0, "news")} == {"news"}


def test_the_page_shows_what_the_model_sees(
    run: Path, tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    code, answer = _made(capsys, run, out)
    assert (code, answer["ok"], answer["documents"], answer["images"]) == (0, True, 9, 10)
    assert answer["differ"] == []
    by_id = {int(one["id"], 16): one for one in answer["samples"]}
    both = [plan(*image[1:], "tiny56") for image in (STRIP, PICTURE)]
    assert [one["tokens"] for one in by_id[8]["images"]] == [one.tokens for one in both]
    assert (by_id[8]["split"], by_id[8]["uri"]) == ("heldout", "page-8")
    said = tokenizer.encode("How many?")
    assert by_id[7]["text_tokens"] > len(said)
    assert 0 < by_id[7]["learnt_tokens"] < by_id[7]["text_tokens"]
    # Without spans all ids are learnt but those of images.
    assert by_id[0]["learnt_tokens"] == by_id[0]["text_tokens"]
    page = _Page(out.read_text())
    texts = page.inside["div.text"]
    assert len(texts) == 9
    (mine,) = [text for text in texts if "How many?" in text]
    tokens = both[0].tokens
    assert mine == f"userimage 1 · {tokens}\nHow many?turn_endassistantThree.turn_endeod"
    assert "Three." in page.inside["mark."]
    assert {"turn_end", "eod"} <= set(page.inside["span.chip learnt"])
    assert all("How many" not in text for text in page.inside["mark."])


def test_the_canvas_is_made_of_the_models_tiles(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    _made(capsys, run, out, "--source", "pages")
    page = _Page(out.read_text())
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(str(found["href"]).partition(",")[2]))))
        for tag, found in page.tags
        if tag == "image"
    ]
    laid = plan(*PICTURE[1:], "tiny56")
    tiles = tile_bytes(pixels(80, 60), laid)
    canvas, thumbnail = shown[2:]  # of the second image
    assert np.array_equal(thumbnail, tiles[0])
    for number, box in enumerate(laid.tiles[1:], 1):
        assert np.array_equal(canvas[box.top : box.bottom, box.left : box.right], tiles[number])
    boxes = [found for tag, found in page.tags if tag == "rect" and found["class"] == "tile"]
    strip = plan(*STRIP[1:], "tiny56")
    assert len(boxes) == len(strip.tiles) + len(laid.tiles)
    # Of the strip, padding is dropped left and right, as many features as the plan says.
    dropped = [found for tag, found in page.tags if tag == "rect" and found["class"] == "dropped"]
    assert float(str(dropped[0]["width"])) == 14 * strip.feature_left > 0


def test_hostile_text_is_text_and_the_page_runs_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    _made(capsys, run, out, "--source", "instructions")
    text = out.read_text()
    page = _Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe"})
    assert any("<script>alert(1)</script> & “größer” ␛[0m · 日本語 🦎" in t
               for t in page.inside["div.text"])  # fmt: skip
    assert "The answer <b>is</b> größer." in page.inside["mark."]
    # A browser takes the style only if it is what the policy names.
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in text
    sources = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert all(source.startswith(("data:image/", "#")) for source in sources)


def test_ids_that_say_something_else_are_told(run: Path, tokenizer: Tokenizer) -> None:
    folder = RunFolder.load(run)
    speller = Speller(folder.read(f"{folder.tokenizer}/tokenizer.json"), folder.specials)
    for sample in read_samples(folder, draw(folder, 20, 0)):
        assert speller.difference(sample) is None
        ids = sample.ids[:-1].tolist()
        spelled = tokenizer.decode(ids).decode().replace("<|image|>", MARK)
        assert speller.spell(ids).decode() == spelled
        sample.ids[len(ids) // 2] = tokenizer.encode("Q")[0]
        found = speller.difference(sample)
        assert found is not None
        assert found.stored != found.decoded
        assert sample.text[found.byte :].decode(errors="replace").startswith(found.stored)


def test_an_image_of_another_size_is_an_alarm_on_the_page(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    lying = (PICTURE[0], 100, 60)
    broken = (b"no image", 10, 10)
    documents = [Made("a", **marked("Lying.", lying)), Made("a", **marked("Broken.", broken))]
    folder = make_run(tmp_path / "run", documents, tokenizer)
    out = tmp_path / "page.html"
    code, answer = _made(capsys, folder, out)
    assert code == 0
    assert len(answer["differ"]) == 2
    faults = sorted(fault for one in answer["samples"] for fault in one["faults"])
    assert faults[0].startswith("image 1: found 80 × 60 pixels, expected 100 × 60 as the index")
    assert faults[1].startswith("image 1: found image-format")
    assert "2 of 2 do not agree" in out.read_text()


def test_what_cannot_be_shown_is_refused(
    run: Path, tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(code: int, folder: Path, *arguments: object) -> str:
        found, answer = _made(capsys, folder, tmp_path / "page.html", *arguments)
        assert (found, answer["ok"]) == (code, False)
        assert not (tmp_path / "page.html").exists()
        return str(answer["error"])

    assert "expected one of descriptions, instructions, news, pages" in refused(
        2, run, "--source", "new"
    )
    assert "--count: found 0" in refused(2, run, "--count", "0")
    assert "--tiling: found 'big', expected one of" in refused(2, run, "--tiling", "big")
    text = make_run(tmp_path / "text", [Made("news", "Plain.")], tokenizer)
    assert "found no documents with images" in refused(2, text)
    cut = make_run(tmp_path / "cut", DOCUMENTS[:4], tokenizer)
    (content,) = (cut / "shards" / "content").iterdir()
    data = content.read_bytes()
    content.write_bytes(data[: len(data) // 2])
    assert "verify" in refused(1, cut)
    content.unlink()
    assert "found no shards/content/" in refused(1, cut)


def test_a_tokenizer_of_another_kind_is_decoded_by_its_library() -> None:
    words = {"[UNK]": 0, "<s>": 1, "<img>": 2, "one": 3, "two": 4}
    model = Model(WordLevel(words, unk_token="[UNK]"))
    model.pre_tokenizer = WhitespaceSplit()
    model.add_special_tokens(["<s>", "<img>"])
    speller = Speller(model.to_str().encode(), {"eod": 1, "image": 2})
    # Specials as chats spell them, whatever the tokenizer calls them.
    assert speller.spell([3, 4, 2, 4, 1]).decode() == f"one two{MARK}two<|eod|>"
