"""HTML pages as interleaved documents: the main content with an image mark where each image stands.

What is main content is decided as for text alone: the page is given to the extractor with a token
for an alternative text in every image, and the tokens that come back are the images of the main
content, in their places. The text between them is that of ``extract: {html: resiliparse}``, and
captions of figures, which it leaves out where it leaves out the figures.

An image that cannot be used leaves a row of its own. Icons, spacers and the like are left out
without one and counted in ``metadata.decorations``. A page none of whose images are used is the
text document that it would be without this.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser

from dataflow.sources.extract import Extracted, check_work, open_page, plain_text
from dataflow.sources.formats.gathered import Fetch, Gathered
from dataflow.sources.formats.page_images import PageImage, page_images
from dataflow.sources.formats.picture import ImageRefusal, unmarked
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Picture, Record, RefusedPicture, SourceSpec
from vl_data.images import MARK

_IMG = re.compile(r"<img\b", re.IGNORECASE)
_PRIVATE = [chr(c) for c in range(0xE000, 0xF900)]
"""Characters for private use: one that a page does not hold fences its tokens."""


class Interleaved(NamedTuple):
    """A page with its images; ``page.text`` has a mark for each of ``images``."""

    page: Extracted
    images: tuple[Picture, ...] = ()
    refused: tuple[RefusedPicture, ...] = ()
    decorations: int = 0

    def put_into(self, record: Record) -> Record:
        """``record``, which has the page's text, with the page's images."""
        metadata = dict(record.metadata or {})
        if self.decorations:
            metadata["decorations"] = self.decorations
        return replace(record, images=self.images, refused=self.refused, metadata=metadata or None)


def interleave(
    html: bytes, charset: str | None, spec: SourceSpec, address: str, fetch: Fetch
) -> Interleaved:
    """The main content of a page with its images; ``address`` is the page's own.

    Raises
    ------
    Refusal
        As ``dataflow.sources.extract.extract``.
    """
    page = open_page(html, charset, spec)
    if _IMG.search(page.html) is None:
        return Interleaved(page.extracted(plain_text(page.html)))
    tree = LexborHTMLParser(page.html)
    base = _base(tree, address)
    images = page_images(tree)
    if len(images) > spec.limits.max_html_images:
        raise Refusal("work-budget", f"images: over {spec.limits.max_html_images}")
    text, token = _with_tokens(tree, images, spec)
    gathered = Gathered(spec, base, fetch)
    used: dict[int, Picture] = {}
    refused: list[RefusedPicture] = []
    decorations = 0
    shown = dict.fromkeys(int(number) for number in token.findall(text))
    for place, number in enumerate(shown):
        try:
            picture = gathered.picture(images[number])
        except ImageRefusal as refusal:
            refused.append(RefusedPicture(refusal.ref, refusal.reason, refusal.detail, place))
            continue
        if picture is None:
            decorations += 1
        else:
            used[number] = picture
    if not used:
        plain = page.extracted(plain_text(page.html))
        return Interleaved(plain, (), tuple(refused), decorations)
    marked = _marked(unmarked(text), token, set(used))
    in_order = tuple(used[number] for number in shown if number in used)
    return Interleaved(page.extracted(marked), in_order, tuple(refused), decorations)


def _with_tokens(
    tree: LexborHTMLParser, images: list[PageImage], spec: SourceSpec
) -> tuple[str, re.Pattern[str]]:
    """The main content with a token for each image, and the pattern that finds its number."""
    for node in tree.css("[alt]"):
        del node.attrs["alt"]  # also of input, area and the like, which are no images
    for image in images:
        for name in ("src", "srcset"):
            if name in image.node.attributes:
                del image.node.attrs[name]  # as much as a whole image, where it is in the page
    # In the tree and not in the page as written, which may spell any character by its number.
    taken = set(tree.html or "")
    fence = next((c for c in _PRIVATE if c not in taken), None)
    if fence is None:
        raise Refusal("work-budget", "every character for private use is in the page")
    for number, image in enumerate(images):
        if image.addresses and not image.decorates:
            image.node.attrs["alt"] = f"{fence}{number}{fence}"
    html = tree.html or ""
    check_work(html.encode("utf-8", "replace"), spec)
    return plain_text(html, alt_texts=True), re.compile(f"{fence}(\\d+){fence}")


def _base(tree: LexborHTMLParser, address: str) -> str:
    """What addresses of a page are relative to: its own address, unless it names another."""
    node = tree.css_first("base[href]")
    href = node.attributes.get("href") if node is not None else None
    try:
        return urljoin(address, href) if href else address
    except ValueError:
        return address


def _marked(text: str, token: re.Pattern[str], used: set[int]) -> str:
    """Tokens become marks, each number once; a line that held only unused ones goes."""
    waiting = set(used)
    lines = []
    for line in text.split("\n"):
        if token.search(line) is None:
            lines.append(line)
            continue
        line = _line(line, token, waiting)
        if line.strip():
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _line(line: str, token: re.Pattern[str], waiting: set[int]) -> str:
    parts: list[str] = []
    end = 0
    for match in token.finditer(line):
        before = line[end : match.start()]
        number = int(match[1])
        if number in waiting:
            waiting.discard(number)
            parts += [before, MARK]
        else:
            parts.append(
                before.rstrip(" \t") if line[match.end() :][:1] in (" ", "\t", "") else before
            )
        end = match.end()
    return "".join([*parts, line[end:]])
