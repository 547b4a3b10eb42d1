"""Main content of HTML, through resiliparse or trafilatura, within a counted work budget."""

from __future__ import annotations

from typing import NamedTuple

from resiliparse.extract.html2text import extract_plain_text

from dataflow.sources import rights
from dataflow.sources.encodings import Decoded, declared_in_html, decode
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import SourceSpec
from kernels.html import is_harmless, measure


class Extracted(NamedTuple):
    """Text of a page with what the page says of itself."""

    text: str
    encoding: str
    rights: set[str]
    license: str | None
    damaged: int


def extract(html: bytes, charset: str | None, spec: SourceSpec) -> Extracted:
    """The main content of a page. ``charset`` is what the transport declared.

    Raises
    ------
    Refusal
        ``work-budget``, ``encoding``, ``binary``, ``extraction-failed`` or ``no-text``.
    """
    page = open_page(html, charset, spec)
    return page.extracted(_main_content(page.html, spec.html))


class Page(NamedTuple):
    """A page within its budget, decoded, with what it says of itself."""

    html: str
    encoding: str
    rights: set[str]
    license: str | None
    damaged: int

    def extracted(self, text: str) -> Extracted:
        """The page with its main content; ``Refusal`` (``no-text``) where there is none."""
        if not text or text.isspace():
            raise Refusal("no-text", "no main content")
        return Extracted(text, self.encoding, self.rights, self.license, self.damaged)


def open_page(html: bytes, charset: str | None, spec: SourceSpec) -> Page:
    """Check a page's budget and decode it; ``Refusal`` as ``extract``."""
    check_budget(html, spec)
    marks, license_id = rights.of_page(html)  # before the parser, while the bytes are in the cache
    page = _decode(html, charset)
    if page.encoding != "utf-8":
        # In UTF-16 or a stateful encoding the bytes do not show the tags that the parser sees.
        check_work(page.text.encode("utf-8", "replace"), spec)
    return Page(page.text, page.encoding, marks, license_id, page.damaged)


def check_budget(html: bytes, spec: SourceSpec) -> None:
    """Refuse a page whose size, tags, nesting or re-opened elements pass the spec's limits."""
    limits = spec.limits
    if len(html) > limits.max_html_bytes:
        raise Refusal("work-budget", f"{len(html)} bytes, limit {limits.max_html_bytes}")
    check_work(html, spec)


def check_work(html: bytes, spec: SourceSpec) -> None:
    """The part of ``check_budget`` that looks at tags."""
    if is_harmless(html):
        return
    limits = spec.limits
    found = measure(html, limits.max_html_depth)
    for name, value, limit in (
        ("open elements", found.depth, limits.max_html_depth),
        ("tags", found.tags, limits.max_html_tags),
        ("work", found.work, limits.max_html_work),
        ("elements opened again", found.reopened, limits.max_html_reopened),
    ):
        if value > limit:
            raise Refusal("work-budget", f"{name}: over {limit}")


def _decode(html: bytes, charset: str | None) -> Decoded:
    """The page as text; quick for plain UTF-8."""
    shifted = html.isascii() and (b"\x1b" in html or b"~{" in html)
    if not shifted and b"\0" not in html:
        try:
            return Decoded(html.decode("utf-8-sig"), "utf-8")
        except UnicodeDecodeError:
            pass
    return decode(html, charset or declared_in_html(html))


def _main_content(page: str, extractor: str) -> str:
    if extractor == "trafilatura":
        return _trafilatura(page)
    return plain_text(page)


def plain_text(page: str, alt_texts: bool = False) -> str:
    """The main content of a page by resiliparse, with alternative texts where asked for."""
    text: str = extract_plain_text(
        page, main_content=True, alt_texts=alt_texts, comments=False, links=False
    )
    return text


def _trafilatura(html: str) -> str:
    import trafilatura  # two seconds of imports, for those who choose it

    try:
        text = trafilatura.extract(html, include_comments=False, include_tables=True)
    except (RecursionError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise Refusal("extraction-failed", f"trafilatura: {type(error).__name__}") from None
    return text or ""
