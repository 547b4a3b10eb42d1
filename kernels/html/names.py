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


VOID_ELEMENTS = "area base br col embed hr img input link meta param source track wbr"
IGNORED = "html head body frameset colgroup"
RAW_TEXT = "script style textarea title xmp iframe noembed noframes"
SCOPE_MARKERS = "table td th caption applet marquee object template select button svg math"
REOPENED = "a b big code em font i nobr s small strike strong tt u"
SPECIAL_ELEMENTS = (
    "address applet article aside blockquote button caption center colgroup dd details dir div dl "
    "dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup li listing main "
    "marquee menu nav noscript object ol p plaintext pre search section select summary table tbody "
    "td template tfoot th thead tr ul"
)
BLOCKS = (
    "address article aside blockquote center details dir div dl fieldset figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 header hgroup listing main menu nav ol p pre search section summary ul "
    "table li dd dt"
)
TABLE_PARTS = "tbody thead tfoot tr td th caption"

VOID, RAW, MARKER, FORMATTING = 1, 2, 4, 8
FOREIGN, OPTION, SPECIAL, BLOCK, PART, BREAKOUT, FORGETS = 16, 32, 64, 128, 256, 512, 1024
NUMBER = 16
"""Kinds, as a bit set; from bit ``NUMBER`` on, the number of a formatting element's name.

``VOID``: never open (or ignored, as a second ``body``). ``RAW``: holds no tags but its own end tag,
outside of ``FOREIGN`` elements. ``MARKER``: an end tag does not reach out of it. ``FORMATTING``:
opened again after it was left open in a closed element. ``OPTION``: compared with those before it.
``SPECIAL``: an end tag of another kind of element does not reach over it. ``BLOCK``: closes an open
``p``. ``PART``: means something inside a table only. ``BREAKOUT``: void in ``FOREIGN`` too.
``FORGETS``: formatting left open inside is not opened again outside.
"""


def slot(code: int) -> int:
    """Where the search for a packed name starts in ``KEYS``."""
    return (code ^ (code >> 13) ^ (code >> 29)) & 255


def _tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys, kinds = np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64)
    groups = (
        (VOID_ELEMENTS, VOID),
        (IGNORED, VOID),
        (RAW_TEXT, RAW),
        (SCOPE_MARKERS, MARKER),
        (REOPENED, FORMATTING),
        (SPECIAL_ELEMENTS, SPECIAL),
        (BLOCKS, BLOCK),
        (TABLE_PARTS, PART),
        ("br embed hr img meta", BREAKOUT),
        ("applet object marquee template td th caption", FORGETS),
        ("svg math", FOREIGN),
        ("option", OPTION),
    )
    for names, kind in groups:
        for index, name in enumerate(names.split()):
            code = pack(name)
            at = slot(code)
            while keys[at] not in (0, code):
                at = (at + 1) & 255
            keys[at] = code
            kinds[at] |= kind
            if kind == FORMATTING:
                kinds[at] |= (index + 1) << NUMBER
    return keys, kinds


KEYS, KINDS = _tables()
"""An open-addressed hash table from packed names to kinds."""
FORMATTING_NAMES = len(REOPENED.split())

A, P, LI, DD, DT, UL, OL, FORM = map(pack, ("a", "p", "li", "dd", "dt", "ul", "ol", "form"))
TABLE, TEMPLATE, TD, TH, SELECT = map(pack, ("table", "template", "td", "th", "select"))
ADDRESS, DIV = pack("address"), pack("div")

BLANK, SLASH, EQUALS, TAG_END = 1, 2, 3, 4


def _bytes() -> NDArray[np.uint8]:
    kinds = np.zeros(256, dtype=np.uint8)
    kinds[:33] = BLANK
    kinds[ord("/")], kinds[ord("=")], kinds[ord(">")] = SLASH, EQUALS, TAG_END
    return kinds


BYTES = _bytes()
"""What each byte means inside a tag, outside of a quoted value."""
