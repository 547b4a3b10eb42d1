from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow.sources import Limits
from vl_data.images import MARK
from vl_data.limits import Limits as ImageLimits

Reader = Callable[..., Any]


def pdf(pages: list[str]) -> bytes:
    """A PDF with one line of text a page."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for i, text in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        stream = f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    rows = "".join(f"{o:010d} 00000 n \n" for o in offsets)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {size}\n0000000000 65535 f \n{rows}{end}".encode()


def test_the_text_layer_page_by_page(tmp_path: Path, read_all: Reader) -> None:
    pytest.importorskip("pypdfium2", reason="of the pdf extra")
    (tmp_path / "a.pdf").write_bytes(pdf(["First page.", "Second page."]))
    (tmp_path / "no_suffix").write_bytes(pdf(["Caf\xe9."]))
    first, second = read_all().records
    assert first.text == "First page.\n\nSecond page."
    assert (first.media_type, first.metadata) == ("application/pdf", {"pages": 2})
    assert second.text == "Café."


def test_what_cannot_be_read(tmp_path: Path, read_all: Reader) -> None:
    pytest.importorskip("pypdfium2", reason="of the pdf extra")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4\n" + b"nothing of the kind " * 50)
    (tmp_path / "cut.pdf").write_bytes(pdf(["x"])[:200])
    (tmp_path / "long.pdf").write_bytes(pdf(["page"] * 6))
    (tmp_path / "scan.pdf").write_bytes(pdf([""]))
    found = read_all(limits=Limits(max_pdf_pages=5))
    reasons = {uri: reason for uri, _, reason in found.refused}
    assert reasons["broken.pdf"] == "extraction-failed"
    assert reasons["long.pdf"] == "work-budget"
    assert reasons["scan.pdf"] == "no-text"
    assert len(found.all) == 4


def test_a_missing_package_is_named(
    tmp_path: Path, read_all: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(["text"]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    found = read_all()
    assert found.refused == [("a.pdf", 0, "missing-package")]
    assert "pypdfium2" in found.all[0].detail


def test_pages_as_images_with_their_text(tmp_path: Path, read_all: Reader) -> None:
    pytest.importorskip("pypdfium2", reason="of the pdf extra")
    (tmp_path / "a.pdf").write_bytes(pdf(["First page.", "", "Third page."]))
    found = read_all(format="pdf-pages", pdf_dpi=72)
    assert found.texts == [f"{MARK}\nFirst page.", MARK, f"{MARK}\nThird page."]
    first, second, third = found.records
    assert [r.offset for r in found.records] == [0, 1, 2]
    assert third.metadata == {"page": 3, "pages": 3}
    (picture,) = third.images
    assert (picture.ref, picture.facts.format) == ("a.pdf#page=3", "png")
    assert (picture.facts.width, picture.facts.height) == (300, 300)
    assert (first.images[0].facts.blank, second.images[0].facts.blank) == (False, True)
    assert [r.images[0].data for r in read_all(format="pdf-pages", pdf_dpi=72).records] == [
        r.images[0].data for r in found.records
    ]
    larger = read_all(format="pdf-pages", pdf_dpi=144).records[0].images[0].facts
    assert (larger.width, larger.height) == (600, 600)


def test_pages_that_cannot_be_drawn(
    tmp_path: Path, read_all: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pypdfium2", reason="of the pdf extra")
    huge = pdf(["a", "b"]).replace(b"[0 0 300 300]", b"[0 0 999 999]", 1)
    (tmp_path / "huge.pdf").write_bytes(huge)
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4\n" + b"nothing of the kind " * 50)
    (tmp_path / "long.pdf").write_bytes(pdf(["page"] * 6))
    found = read_all(
        format="pdf-pages",
        limits=Limits(max_pdf_pages=5),
        images=ImageLimits(max_pixels=1_000_000),
    )
    assert found.refused == [
        ("broken.pdf", 0, "extraction-failed"),
        ("huge.pdf", 0, "image-bomb"),
        ("long.pdf", 0, "work-budget"),
    ]
    assert found.texts == [f"{MARK}\nb"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    missing = read_all(format="pdf-pages")
    assert {reason for _, _, reason in missing.refused} == {"missing-package"}
    assert "leyden[pdf]" in missing.all[0].detail
