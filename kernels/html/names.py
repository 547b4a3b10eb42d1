"""Element names as 64-bit integers, and what the HTML standard says of them.

A name of up to eight bytes is packed with its ASCII letters lower-cased, first letter highest, so
two of these are never mistaken for each other. A longer one is a negative number: a 63-bit hash of
all its bytes, because a prefix would let ``</blockquote>`` close what a parser keeps open. Source:
WHATWG HTML, sections 13.1.2 (void, raw text and escapable raw text elements, optional tags) and
13.2.4.2 (scope markers).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONG_NAME = -(1 << 63)
LONG_NAME_MULTIPLIER = 0x100000001B3
"""FNV's 64-bit prime: hashes the bytes of a name from the ninth on."""


def pack(name: str) -> int:
    """The integer a lower-case ASCII name is scanned as: int64."""
    data = name.encode()
    code = int.from_bytes(data[:8], "big")
    for letter in data[8:]:
        code = (code ^ letter) * LONG_NAME_MULTIPLIER & ((1 << 64) - 1)
    return code | LONG_NAME if len(data) > 8 else code


VOID_ELEMENTS = "area base br col embed hr img input link meta param source track wbr"
OLD_VOID_ELEMENTS = "basefont bgsound frame image keygen"
"""Obsolete, and never open either: a parser reads ``image`` as ``img`` and ignores ``frame``."""
IGNORED = "html head body frameset colgroup"
RAW_TEXT = "script style textarea title xmp iframe noembed noframes"
SCOPE_MARKERS = "table td th caption applet marquee object template select button"
REOPENED = "a b big code em font i nobr s small strike strong tt u"
SPECIAL_ELEMENTS = (
    "address applet article aside blockquote button caption center colgroup dd details dir div dl "
    "dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup li listing main "
    "marquee menu nav noscript object ol p plaintext pre search section select summary table tbody "
    "td template tfoot th thead tr ul"
)
BLOCKS = (
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup listing main menu nav ol p pre search section "
    "summary ul table li dd dt hr xmp"
)
IMPLIED = "dd dt li optgroup option p rb rp rt rtc"
BREAKOUTS = (
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li "
    "listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var"
)
"""What ends SVG and MathML; a ``font`` with a ``color``, ``face`` or ``size`` does too."""
CLOSES_IMPLIED = "rb rp rt rtc optgroup option hr"
TABLE_PARTS = "tbody thead tfoot tr td th caption"

VOID, RAW, MARKER, FORMATTING = 1, 2, 4, 8
FOREIGN, OPTION, SPECIAL, BLOCK, PART, BREAKOUT, FORGETS = 16, 32, 64, 128, 256, 512, 1024
ENDS_ITSELF, ENDS_OTHERS = 2048, 4096
ALIEN, MATHEMATICAL, INTEGRATION = 8192, 16384, 32768
NUMBER = 16
"""Kinds, as a bit set; from bit ``NUMBER`` on, the number of a formatting element's name.

``VOID``: never open (or ignored, as a second ``body``). ``RAW``: holds no tags but its own end tag.
``MARKER``: an end tag does not reach out of it. ``FORMATTING``: opened again after it was left open
in a closed element. ``FOREIGN``: starts SVG or MathML. ``OPTION``: compared with those before it.
``SPECIAL``: an end tag of another kind of element does not reach over it. ``BLOCK``: closes an open
``p``. ``PART``: means something inside a table only. ``BREAKOUT``: ends SVG and MathML.
``FORGETS``: formatting left open inside is not opened again outside. ``ENDS_ITSELF``: its end tag
may be left out. ``ENDS_OTHERS``: closes these, in a ``select`` or ``ruby``.

Of open elements only: ``ALIEN``: an element of SVG or, if ``MATHEMATICAL``, of MathML, named by the
complement of its packed name. ``INTEGRATION``: an alien one whose content is HTML again.
"""


def slot(code: int) -> int:
    """Where the search for a packed name starts in ``KEYS``."""
    return (code ^ (code >> 13) ^ (code >> 29)) & 255


def _tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys, kinds = np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64)
    groups = (
        (VOID_ELEMENTS, VOID),
        (OLD_VOID_ELEMENTS, VOID),
        (IGNORED, VOID),
        (RAW_TEXT, RAW),
        (SCOPE_MARKERS, MARKER),
        (REOPENED, FORMATTING),
        (SPECIAL_ELEMENTS, SPECIAL),
        (BLOCKS, BLOCK),
        (TABLE_PARTS, PART),
        (BREAKOUTS, BREAKOUT),
        ("applet object marquee template td th caption", FORGETS),
        ("svg math", FOREIGN),
        ("option", OPTION),
        (IMPLIED, ENDS_ITSELF),
        (CLOSES_IMPLIED, ENDS_OTHERS),
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
TABLE, TEMPLATE, SELECT = map(pack, ("table", "template", "select"))
TBODY, TR, TD, TH, CAPTION = map(pack, ("tbody", "tr", "td", "th", "caption"))
ADDRESS, DIV, SCRIPT, NOBR = map(pack, ("address", "div", "script", "nobr"))
BUTTON, INPUT, SVG, MATH = map(pack, ("button", "input", "svg", "math"))
OPTION_NAME, OPTGROUP, HR, RUBY = map(pack, ("option", "optgroup", "hr", "ruby"))
H1, H6, BR, FONT = map(pack, ("h1", "h6", "br", "font"))
DESC, TITLE, FOREIGN_OBJECT = map(pack, ("desc", "title", "foreignobject"))
MI, MO, MN, MS, MTEXT = map(pack, ("mi", "mo", "mn", "ms", "mtext"))
COLOR, FACE, SIZE, ENCODING = map(pack, ("color", "face", "size", "encoding"))
MGLYPH, MALIGNMARK, ANNOTATION = map(pack, ("mglyph", "malignmark", "annotation-xml"))

BLANK, SLASH, TAG_END, EQUALS = 1, 2, 4, 8
ENDS_NAME = BLANK | SLASH | TAG_END


def _bytes() -> NDArray[np.uint8]:
    kinds = np.zeros(256, dtype=np.uint8)
    kinds[[ord(c) for c in "\t\n\f\r "]] = BLANK
    kinds[ord("/")], kinds[ord("=")], kinds[ord(">")] = SLASH, EQUALS, TAG_END
    return kinds


BYTES = _bytes()
"""What each byte means inside a tag, outside of a quoted value: one bit, or 0 for any other."""
