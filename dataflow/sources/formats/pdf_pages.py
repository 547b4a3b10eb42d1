"""``pdf-pages``: each page of a PDF as an image with its text layer, through pypdfium2.

One document a page, not one a file: the text of a page describes its image and no other, as a
caption does; a page that cannot be drawn costs itself and not the book; and memory holds one page.
The document is the mark of the image, a newline, and the page's text layer where it has one. Images
are PNG: lossless, and the same bytes for the same versions of PDFium and Pillow.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
from typing import Any

import xxhash

from dataflow.sources.formats.pdf import clean
from dataflow.sources.formats.picture import picture_of, unmarked
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Outcomes, Record
from vl_data.images import MARK

MEDIA_TYPE = "application/pdf"
POINTS_PER_INCH = 72


def read(opened: Opened) -> Outcomes:
    """An outcome a page; offsets are page numbers from 0.

    Raises
    ------
    Refusal
        ``missing-package`` without pypdfium2, ``extraction-failed``, ``work-budget``.
    """
    if importlib.util.find_spec("pypdfium2") is None:
        raise Refusal("missing-package", "install pypdfium2 (or leyden[pdf]) to draw pages of PDF")
    pdfium = importlib.import_module("pypdfium2")
    data = opened.whole()
    digest = xxhash.xxh3_128_digest(data)
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        raise Refusal("extraction-failed", f"pdfium: {error}") from None
    try:
        count, limit = len(document), opened.spec.limits.max_pdf_pages
        if count > limit:
            raise Refusal("work-budget", f"{count} pages, limit {limit}")
        for index in range(count):
            try:
                yield _record(opened, document, index, count, digest)
            except pdfium.PdfiumError as error:
                refusal = Refusal("extraction-failed", f"pdfium, page {index + 1}: {error}")
                yield opened.unreadable(index, refusal)
            except Refusal as refusal:
                detail = f"page {index + 1}: {refusal.detail}"
                yield opened.unreadable(index, Refusal(refusal.reason, detail))
    finally:
        document.close()


def _record(opened: Opened, document: Any, index: int, count: int, digest: bytes) -> Record:
    spec, item = opened.spec, opened.item
    page = document[index]
    try:
        text_page = page.get_textpage()
        text = unmarked(clean(text_page.get_text_range()))
        text_page.close()
        ref = f"{item.uri}#page={index + 1}"
        picture = picture_of(_drawn(opened, page), spec.images, ref)
    finally:
        page.close()
    return Record(
        uri=item.uri,
        offset=index,
        text=f"{MARK}\n{text}" if text else MARK,
        digest=digest,
        media_type=MEDIA_TYPE,
        license=item.license or spec.license,
        encoding="utf-8",
        metadata={"page": index + 1, "pages": count},
        images=(picture,),
    )


def _drawn(opened: Opened, page: Any) -> bytes:
    scale = opened.spec.pdf_dpi / POINTS_PER_INCH
    width, height = page.get_size()
    pixels = width * scale * height * scale
    if pixels > opened.spec.images.max_pixels:
        found = f"found a page of {width:.0f} x {height:.0f} points"
        limit = opened.spec.images.max_pixels
        raise Refusal("image-bomb", f"{found}: {pixels:.0f} pixels, expected at most {limit}")
    bitmap = page.render(scale=scale)
    try:
        image = bitmap.to_pil().convert("RGB")
    finally:
        bitmap.close()
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()
