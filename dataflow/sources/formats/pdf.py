"""PDF: the text layer, page by page, through pypdfium2 or pypdf where one is installed."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from dataclasses import replace

from dataflow.sources.formats.text import one_line_end
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Limits, Outcomes


def read(opened: Opened) -> Outcomes:
    """One record, pages separated by an empty line.

    Raises
    ------
    Refusal
        ``missing-package``, ``extraction-failed``, ``work-budget``, ``no-text`` (scanned pages).
    """
    data = opened.whole()
    text, pages = text_of(data, opened.spec.limits)
    record = opened.one(text, data, "application/pdf", "utf-8")
    yield replace(record, metadata={"pages": pages})


def text_of(data: bytes, limits: Limits) -> tuple[str, int]:
    """The text of a PDF, and its number of pages."""
    pages: list[str] = []
    size = 0
    for page in _backend()(data, limits.max_pdf_pages):
        pages.append(clean(page))
        size += len(page)
        if size > limits.max_record_bytes:
            raise Refusal("record-too-large", f"the text layer is over {size} characters")
    return "\n\n".join(p for p in pages if p), len(pages)


def clean(text: str) -> str:
    """One page: PDFium's hyphen marks joined, lone surrogates replaced, line ends unified."""
    text = one_line_end(text.replace("\ufffe\r\n", "").replace("\ufffe", ""))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").strip()


def _backend() -> Callable[[bytes, int], Iterator[str]]:
    for name, pages in (("pypdfium2", _pdfium_pages), ("pypdf", _pypdf_pages)):
        if importlib.util.find_spec(name) is not None:
            return pages
    raise Refusal("missing-package", "install pypdfium2 (or leyden[pdf]) to read PDF")


def _check_pages(count: int, limit: int) -> None:
    if count > limit:
        raise Refusal("work-budget", f"{count} pages, limit {limit}")


def _pdfium_pages(data: bytes, limit: int) -> Iterator[str]:
    pdfium = importlib.import_module("pypdfium2")
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        raise Refusal("extraction-failed", f"pdfium: {error}") from None
    try:
        _check_pages(len(document), limit)
        for index in range(len(document)):
            try:
                page = document[index]
                text_page = page.get_textpage()
                yield text_page.get_text_range()
                text_page.close()
                page.close()
            except pdfium.PdfiumError as error:
                raise Refusal("extraction-failed", f"pdfium, page {index + 1}: {error}") from None
    finally:
        document.close()


def _pypdf_pages(data: bytes, limit: int) -> Iterator[str]:
    pypdf = importlib.import_module("pypdf")
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        _check_pages(len(reader.pages), limit)
        for page in reader.pages:
            yield page.extract_text()
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001 (pypdf raises many classes on broken files)
        raise Refusal("extraction-failed", f"pypdf: {type(error).__name__}") from None
