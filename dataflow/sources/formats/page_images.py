"""The images of an HTML page as its tree has them: where they lie, and the text tied to them."""

from __future__ import annotations

import re
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

_ICON_SIDE, _STRIP_SIDE = 64, 256


def is_ornament(width: int, height: int) -> bool:
    """Whether an image of so many pixels is an icon, a bullet, a spacer, a logo above a page: part
    of a page's looks, and no part of what it says."""
    return min(width, height) < _ICON_SIDE and max(width, height) < _STRIP_SIDE


_SOURCES = ("data-src", "data-original", "data-lazy-src", "src")
"""Attributes with an address; of a page that loads lazily, ``src`` is but a placeholder."""
_CAPTIONED = frozenset(
    """
    figure wp-caption thumb thumbinner mediaobject image-block captioned gallerybox imageblock
    """.split()
)
"""Classes of elements that hold an image and its caption (WordPress, MediaWiki, DocBook, Sphinx,
Asciidoctor); so does ``figure``."""
_CAPTION = "figcaption, .caption, .wp-caption-text, .thumbcaption, .gallerytext, .figcaption"
_BLOCKS = frozenset("p div br li dt dd tr td th figcaption h1 h2 h3 h4 h5 h6".split())
_HIDDEN = re.compile(r"(display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_LENGTH = re.compile(r"\s*(\d+)(?:\.\d*)?\s*(?:px)?\s*$")
_ABOVE = 8
"""Ancestors that are searched for a caption."""


class PageImage(NamedTuple):
    """An image of a page.

    ``addresses`` are those that may hold it, the best first; ``alt`` is None where it says nothing.
    """

    node: LexborNode
    addresses: tuple[str, ...]
    alt: str | None

    @property
    def decorates(self) -> bool:
        """Whether the markup itself says that the image is an ornament."""
        has = self.node.attributes
        if has.get("role") in ("presentation", "none") or has.get("aria-hidden") == "true":
            return True
        if "hidden" in has or _HIDDEN.search(has.get("style") or ""):
            return True
        width, height = (_LENGTH.match(has.get(name) or "") for name in ("width", "height"))
        return (
            width is not None and height is not None and is_ornament(int(width[1]), int(height[1]))
        )

    def caption(self, known: dict[int, list[str]]) -> str | None:
        """What the figures around the image say of it, from the outermost in; None if nothing.

        ``known`` keeps what each figure of the page says, so that one of many images is searched
        once.
        """
        said: list[str] = []
        node = self.node.parent
        for _ in range(_ABOVE):
            if node is None or node.tag in ("body", "html", "article", "main"):
                break
            if _holds_caption(node):
                if node.mem_id not in known:
                    known[node.mem_id] = _own_captions(node)
                found = known[node.mem_id]
                said = [text for text in found if text not in said] + said
            node = node.parent
        return " ".join(said) or None


def page_images(tree: LexborHTMLParser) -> list[PageImage]:
    """All ``img`` elements of a page, in document order."""
    return [
        PageImage(node, _addresses(node), _spaced(node.attributes.get("alt")) or None)
        for node in tree.css("img")
    ]


def _addresses(node: LexborNode) -> tuple[str, ...]:
    has = node.attributes
    found = [has.get(name) for name in _SOURCES]
    for name in ("srcset", "data-srcset"):
        found += _largest_first(has.get(name) or "")
    # What a lazy page shows until it has loaded is no image of it.
    found.sort(key=lambda address: (address or "").startswith("data:"))
    return tuple(dict.fromkeys(a.strip() for a in found if a and a.strip()))


def _largest_first(srcset: str) -> list[str]:
    found: list[tuple[float, str]] = []
    for candidate in re.split(r",\s+|,(?=\S+\s)", srcset):
        address, _, size = candidate.strip().partition(" ")
        number = re.match(r"\s*(\d+(?:\.\d+)?)[wx]", size)
        found.append((-float(number[1]) if number else -1, address))
    return [address for _, address in sorted(found, key=lambda pair: pair[0])]


def _classes(node: LexborNode) -> set[str]:
    return set((node.attributes.get("class") or "").lower().split())


def _holds_caption(node: LexborNode) -> bool:
    return node.tag == "figure" or bool(_classes(node) & _CAPTIONED)


def _own_captions(node: LexborNode) -> list[str]:
    """Texts of captions in ``node`` that belong to no figure further in; a DocBook title first."""
    found = [
        child for child in node.iter() if "figure" in _classes(node) and "title" in _classes(child)
    ]
    for caption in node.css(_CAPTION):
        holder = caption.parent
        while holder is not None and not _holds_caption(holder):
            holder = holder.parent
        if holder is not None and holder.mem_id == node.mem_id:
            found.append(caption)
    return [text for text in map(_text, found) if text]


def _text(node: LexborNode) -> str:
    """The text of a node; blocks are set apart, words that are marked up are not."""
    parts = [
        (each.text_content or "") if each.tag == "-text" else " " * (each.tag in _BLOCKS)
        for each in node.traverse(include_text=True)
    ]
    return _spaced("".join(parts))


def _spaced(text: str | None) -> str:
    return " ".join((text or "").split())
