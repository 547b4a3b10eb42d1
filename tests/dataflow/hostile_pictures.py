"""Containers of images and texts in which nearly everything is wrong, and what is to be said of it.

Each writer fills a folder and returns the reasons that its rows of the ledger are to have, how many
documents are read in spite of all, and how to read it.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests.dataflow.sources.made_pairs import image, tar
from tests.vl_data.made_images import encode, gif, pixels, png, png_rows

ENTITIES = b"".join(
    b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10 if n else b"ha") for n in range(12)
)
SVG_BOMB = b'<?xml version="1.0"?><!DOCTYPE svg [%s]>' % ENTITIES + (
    b'<svg xmlns="http://www.w3.org/2000/svg"><text>&e11;</text></svg>'
)
"""A few hundred bytes that say a terabyte to whoever expands them."""

GOOD = image(1)
IMAGES: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "image-empty"),
    "strip": (encode(pixels(30_000, 10), "png"), "image-aspect"),
    "animation": (gif(200, 200, 10_000), "image-frames"),
    "vectors": (SVG_BOMB, "image-format"),
    "half": (GOOD[: len(GOOD) // 2], "image-truncated"),
    "bomb": (png(50_000, 50_000, b""), "image-bomb"),
    "lies": (png(200, 200, png_rows(200, 120)), "image-lying"),
}
"""Bad images, and why each is not used."""

CAPTION = "A picture of some patches of colour"
LATIN = "Ein Käfer auf einem Blatt".encode("latin-1")


class Made(NamedTuple):
    """What reading a folder is to give; ``recipe`` are the keys of its source."""

    reasons: Counter[str]
    documents: int
    recipe: dict[str, Any]


def _bad(times: int = 1) -> Counter[str]:
    return Counter({reason: times for _, reason in IMAGES.values()})


def _files(folder: Path) -> None:
    """Every image as a file."""
    for name, (data, _) in IMAGES.items():
        (folder / f"{name}.png").write_bytes(data)
    (folder / "fine.png").write_bytes(GOOD)


def write_tars(folder: Path) -> Made:
    """WebDataset's: an image and its caption under one key."""
    members: list[tuple[str, bytes]] = []
    for name, (data, _) in IMAGES.items():
        members += [(f"ok-{name}.png", GOOD), (f"ok-{name}.txt", f"{CAPTION}, {name}".encode())]
        members += [(f"{name}.png", data), (f"{name}.txt", CAPTION.encode())]
    members += [("gone.txt", b"The image is not here."), ("latin.png", GOOD), ("latin.txt", LATIN)]
    members += [("silent.png", GOOD), ("silent.txt", b" ")]
    (folder / "a.tar").write_bytes(tar(members))
    reasons = _bad() + Counter(["image-missing", "encoding", "empty-answer"])
    return Made(reasons, len(IMAGES), {"format": "image-text"})


def write_downloads(folder: Path) -> Made:
    """img2dataset's output: a tar with JSON beside the images, and Parquet."""
    failed = {"caption": CAPTION, "status": "failed_to_download", "error_message": "HTTP 404"}
    fine = {"caption": "Of the second", "key": "002", "status": "success"}
    members = [("000.json", json.dumps(failed).encode()), ("001.png", b""), ("001.json", b"{}")]
    members += [("001.txt", CAPTION.encode()), ("002.png", GOOD)]
    members += [("002.json", json.dumps(fine).encode()), ("003.png", GOOD), ("003.json", b"{")]
    (folder / "00000.tar").write_bytes(tar(members))
    rows: list[tuple[bytes | None, bytes]] = [
        (data, f"{CAPTION}, {name}".encode()) for name, (data, _) in IMAGES.items()
    ]
    rows += [(GOOD, LATIN), (None, b"None"), (GOOD, b""), (GOOD, b"The one good row")]
    captions = pa.array([caption for _, caption in rows], pa.binary()).view(pa.string())
    table = pa.table({"jpg": pa.array([data for data, _ in rows]), "caption": captions})
    pq.write_table(table, folder / "00001.parquet")
    reasons = _bad() + Counter(["image-missing", "image-empty", "bad-json"])
    reasons += Counter(["encoding", "image-missing", "empty-answer"])
    return Made(reasons, 2, {"format": "image-text"})


def write_lists(folder: Path) -> Made:
    """JSON lines and CSV beside a folder of images."""
    _files(folder)
    names = [*IMAGES, "fine", "nowhere"]
    rows = [{"image": f"{name}.png", "caption": f"{CAPTION}, {name}"} for name in names]
    two = {"images": ["fine.png"], "text": "Two places: <image> and <image>"}
    lines = [json.dumps(row).encode() for row in (*rows, two)]
    lines += [b'{"image": "fine.png", "caption": "', b'{"image": "../fine.png", "caption": "x"}']
    lines += [b'{"image": "fine.png", "caption": "%s"}' % LATIN]
    (folder / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    table = [b"image,caption", *(b'%s.png,"In a table: %s"' % ((n.encode(),) * 2) for n in names)]
    (folder / "b.csv").write_bytes(b"\n".join([*table, b"fine.png,%s" % LATIN]) + b"\n")
    reasons = _bad(2) + Counter({"image-missing": 3, "encoding": 2})
    reasons += Counter(["marks-differ", "bad-json"])
    return Made(reasons, 2, {"format": "image-text", "include": ["*.jsonl", "*.csv"]})


def talk(image: str, *said: str) -> dict[str, Any]:
    """A row in LLaVA's form; the two sides take turns, the human first."""
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    return {"image": image, "conversations": turns}


def write_talks(folder: Path) -> Made:
    """LLaVA's JSON: also answers that are empty, and talks that are too long."""
    _files(folder)
    rows = [talk(f"{name}.png", f"<image> What is {name}?", "That.") for name in IMAGES]
    rows += [
        talk("fine.png", "<image> and <image>: which?", "The first."),
        talk("fine.png", "<image> What does it say?", "  "),
        talk("nowhere.png", "<image> Where?", "There."),
        talk("fine.png", "<image> What is this?", "Patches.", "Of what?", "Of colour. " * 200),
        talk("fine.png", "<image> " + "Why? " * 400, "Because."),
        talk("fine.png", "<image> What is fine?", "This."),
    ]
    (folder / "a.json").write_text(json.dumps(rows))
    reasons = _bad() + Counter(["marks-differ", "empty-answer", "image-missing"])
    reasons += Counter({"over-length": 2})
    fit = {"tokens": 300, "tiling": "tiny56"}
    return Made(reasons, 2, {"format": "llava", "include": ["*.json"], "fit": fit})


def _page(images: list[str]) -> bytes:
    """A page with a paragraph before every image."""
    said = "This sentence is part of what the page says and long enough to be seen as such. " * 3
    body = "".join(f'<p>{said}</p><img src="{address}">' for address in images)
    return f"<!doctype html><html><body><article>{body}</article></body></html>".encode()


def _inside(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def write_pages(folder: Path) -> Made:
    """HTML with each image beside it and inside of it."""
    _files(folder)
    (folder / "a.html").write_bytes(_page([f"{name}.png" for name in (*IMAGES, "fine")]))
    inside = [_inside(data) for data, _ in IMAGES.values()]
    (folder / "b.html").write_bytes(_page([*inside, _inside(GOOD), "data:image/png;base64"]))
    away = ["nowhere.png", "/etc/passwd", "../../x.png", "http://a.example/x.png", "http://[/"]
    (folder / "c.html").write_bytes(_page(away))
    reasons = _bad(2) + Counter({"image-corrupt": 1, "image-missing": len(away)})
    recipe = {"include": ["*.html"], "extract": {"html": "interleaved"}}
    return Made(reasons, 3, recipe)


def _stored(target: str, payload: bytes, kind: str) -> bytes:
    block = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + payload
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {target}\r\n"
    head += "WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: application/http; msgtype=response\r\n"
    return f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def write_archive(folder: Path) -> Made:
    """A WARC with a page and what it shows; images by themselves are no documents."""
    host = "http://a.example/x"
    shown = {**IMAGES, "fine": (GOOD, "")}
    records = [
        _stored(f"{host}/{name}.png", data, "image/png") for name, (data, _) in shown.items()
    ]
    page = _page([*(f"{name}.png" for name in shown), "nowhere.png"])
    records.append(_stored(f"{host}/page.html", page, "text/html"))
    (folder / "a.warc").write_bytes(b"".join(records))
    alone = Counter({"media-type": len(shown) - 1, "empty": 1})
    return Made(
        _bad() + Counter(["image-missing"]) + alone, 1, {"extract": {"html": "interleaved"}}
    )


def pdf(sizes: list[tuple[int, int]]) -> bytes:
    """A PDF with a page of each size in points, and a line of text on each."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(sizes)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(sizes)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, (width, height) in enumerate(sizes):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] "
            f"/Contents {5 + 2 * i} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        stream = f"BT /F1 12 Tf 5 5 Td (Page {i}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    rows = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {size}\n0000000000 65535 f \n{rows}{end}".encode()


def write_pdfs(folder: Path) -> Made:
    """Pages to be drawn, of which some are strips or too large, and what is no PDF."""
    (folder / "a.pdf").write_bytes(pdf([(300, 300), (9_000, 20), (14_000, 14_000), (300, 400)]))
    (folder / "b.pdf").write_bytes(b"%PDF-1.4\n" + b"nothing of the kind " * 50)
    (folder / "c.pdf").write_bytes(b"")
    reasons = Counter(["image-aspect", "image-bomb", "extraction-failed", "empty"])
    return Made(reasons, 2, {"format": "pdf-pages", "extract": {"pdf_dpi": 72}})


WRITERS: Mapping[str, Callable[[Path], Made]] = {
    "tars": write_tars,
    "downloads": write_downloads,
    "lists": write_lists,
    "talks": write_talks,
    "pages": write_pages,
    "archive": write_archive,
    "pdfs": write_pdfs,
}
"""Every reader of images, by the name of its source."""

CONTAINERS = (".tar", ".parquet", ".jsonl", ".csv", ".json", ".html", ".warc", ".pdf")
"""Names of the files that are read; the others are images that these name."""
