"""Element names as 64-bit integers, and what the HTML standard says of them.

A name of up to eight letters or digits is packed lower-cased, first letter highest; a longer one
keeps its first eight. No two of the names below collide. Source: WHATWG HTML, sections 13.1.2
(void, raw text and escapable raw text elements, optional tags) and 13.2.4.2 (scope markers).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pack(name: str) -> int:
    """The integer a name is scanned as."""
    code = 0
    for letter in name[:8].lower().encode():
        code = code << 8 | letter
    return code


VOID = "area base br col embed hr img input link meta param source track wbr"
OPTIONAL_END = "html head body p li dt dd tr td th thead tbody tfoot option colgroup"
RAW_TEXT = "script style textarea title xmp iframe noembed noframes"
SCOPE_MARKERS = "table applet marquee object template caption svg math foreignobject"
REOPENED = "a b big code em font i nobr s small strike strong tt u"

FLAT, RAW, MARKER, FORMATTING, FOREIGN, OPTION = 1, 2, 4, 8, 16, 32
"""Kinds, as a bit set.

``FLAT`` elements cannot nest in themselves without another, counted one between, because a sibling
closes them; ``RAW`` ones hold no tags but their own end tag; an end tag cannot reach out of a
``MARKER``; a parser opens ``FORMATTING`` ones again that were left open in a closed element; raw
text is not raw in ``FOREIGN`` ones; an ``OPTION`` is compared with those before it.
"""


def slot(code: int) -> int:
    """Where the search for a packed name starts in ``KEYS``."""
    return (code ^ (code >> 13) ^ (code >> 29)) & 255


def _tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys, kinds = np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64)
    groups = ((VOID, FLAT), (OPTIONAL_END, FLAT), (RAW_TEXT, RAW))
    more = ((SCOPE_MARKERS, MARKER), (REOPENED, FORMATTING), ("svg math", FOREIGN))
    for names, kind in (*groups, *more, ("option", OPTION)):
        for name in names.split():
            code = pack(name)
            at = slot(code)
            while keys[at] not in (0, code):
                at = (at + 1) & 255
            keys[at] = code
            kinds[at] |= kind
    return keys, kinds


KEYS, KINDS = _tables()
"""An open-addressed hash table from packed names to kinds."""

BLANK, SLASH, EQUALS, TAG_END = 1, 2, 3, 4


def _bytes() -> NDArray[np.uint8]:
    kinds = np.zeros(256, dtype=np.uint8)
    kinds[:33] = BLANK
    kinds[ord("/")], kinds[ord("=")], kinds[ord(">")] = SLASH, EQUALS, TAG_END
    return kinds


BYTES = _bytes()
"""What each byte means inside a tag, outside of a quoted value."""
