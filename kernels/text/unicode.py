"""What the compiled pass knows about characters: Unicode 18.0, read from a checked-in table.

Nothing here asks the running interpreter's ``unicodedata``: results are the same on every Python.

The property word of a code point, 16 bits::

    0-4    Word_Break value, an index of WORD_BREAK            (UAX #29)
    5-8    Sentence_Break value, an index of SENTENCE_BREAK    (UAX #29)
    9-11   general category in groups, an index of CATEGORY
    12     Extended_Pictographic
    13     white space: White_Space and U+001C .. U+001F, as str.isspace
    14     terminal mark of FineWeb's rules (datatrove's list)
    15     symbol: what datatrove counts as punctuation (terminal marks included)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

VERSION = "18.0.0"
CODE_POINTS = 0x110000

WORD_BREAK = (
    *("Other", "ALetter", "Hebrew_Letter", "Numeric", "Katakana", "ExtendNumLet", "MidLetter"),
    *("MidNumLet", "Single_Quote", "MidNum", "Double_Quote", "Extend", "Format", "ZWJ"),
    *("Regional_Indicator", "WSegSpace", "CR", "LF", "Newline"),
)
WB_OTHER, WB_LETTER, WB_HEBREW, WB_NUMERIC, WB_KATAKANA, WB_JOINER, WB_MID_LETTER = range(7)
WB_MID_BOTH, WB_SINGLE_QUOTE, WB_MID_NUMBER, WB_DOUBLE_QUOTE, WB_EXTEND, WB_FORMAT = range(7, 13)
WB_ZWJ, WB_REGIONAL, WB_SPACE, WB_CR, WB_LF, WB_NEWLINE = range(13, 19)

SENTENCE_BREAK = (
    *("Other", "Upper", "Lower", "OLetter", "Numeric", "ATerm", "STerm", "Close", "Sp"),
    *("SContinue", "Extend", "Format", "CR", "LF", "Sep"),
)
SB_OTHER, SB_UPPER, SB_LOWER, SB_LETTER, SB_NUMERIC, SB_ATERM, SB_STERM, SB_CLOSE, SB_SP = range(9)
SB_CONTINUE, SB_EXTEND, SB_FORMAT, SB_CR, SB_LF, SB_SEP = range(9, 15)

CATEGORY = (
    *("", r"[\p{L}--\p{Lu}]", r"\p{Lu}", r"\p{Nd}", r"[\p{N}--\p{Nd}]", r"[\p{P}\p{S}]"),
    *(r"\p{Cc}", r"\p{M}"),
)
CAT_OTHER, CAT_LETTER, CAT_UPPER, CAT_DIGIT, CAT_NUMBER, CAT_PUNCT, CAT_CONTROL, CAT_MARK = range(8)

WB_MASK = 0x1F
SB_SHIFT, SB_MASK = 5, 0xF
CATEGORY_SHIFT, CATEGORY_MASK = 9, 0x7
PICTOGRAPH, SPACE, TERMINAL, SYMBOL = 1 << 12, 1 << 13, 1 << 14, 1 << 15

# Kinds of bytes. The bits of a middle are those of what it may stand between, three places up.
BYTE_LETTER, BYTE_DIGIT, BYTE_JOINER = 1, 2, 4
BYTE_MID_LETTER, BYTE_MID_NUMBER, BYTE_MID_BOTH = 8, 16, 24
BYTE_SPACE, BYTE_OTHER, BYTE_NON_ASCII = 32, 64, 128
_BYTE_OF_WORD_BREAK = {
    WB_LETTER: BYTE_LETTER,
    WB_NUMERIC: BYTE_DIGIT,
    WB_JOINER: BYTE_JOINER,
    WB_MID_LETTER: BYTE_MID_LETTER,
    WB_MID_NUMBER: BYTE_MID_NUMBER,
    WB_MID_BOTH: BYTE_MID_BOTH,
    WB_SINGLE_QUOTE: BYTE_MID_BOTH,
}

# Where str.splitlines cuts, and kinds of bytes to it: LINE_WIDE begins a white space of more bytes.
LINE_BREAKS = (0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029)
LINE_PLAIN, LINE_SPACE, LINE_BREAK, LINE_WIDE = range(4)

_BLOCK_BITS = 7
_BLOCK = 1 << _BLOCK_BITS


def _two_stages(
    values: NDArray[Any],
) -> tuple[NDArray[np.uint16], NDArray[Any]]:
    # values[c] == kept[index[c >> 7] << 7 | c & 127]; ASCII is the first block.
    blocks = values.reshape(-1, _BLOCK)
    places: dict[bytes, int] = {}
    index = [places.setdefault(block.tobytes(), len(places)) for block in blocks]
    kept = np.zeros((len(places), _BLOCK), values.dtype)
    kept[index] = blocks
    return np.array(index, np.uint16), kept.reshape(-1)


def _read() -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    # The property word of every code point, and what folding adds to it.
    properties = np.zeros(CODE_POINTS, np.uint16)
    foldings = np.zeros(CODE_POINTS, np.int32)
    path = Path(__file__).with_name(f"unicode-{VERSION}.txt")
    with path.open(encoding="ascii") as lines:
        for line in lines:
            if line.startswith("#"):
                continue
            fields = line.split()
            first, last = int(fields[0], 16), int(fields[1], 16)
            if len(fields) == 3:
                properties[first : last + 1] = int(fields[2], 16)
            else:
                foldings[first : last + 1 : int(fields[2], 16)] = int(fields[3])
    return properties, foldings


def _word_bytes(properties: NDArray[np.uint16]) -> NDArray[np.uint8]:
    kinds = np.full(256, BYTE_NON_ASCII, np.uint8)
    for byte, word in enumerate(properties[:128].tolist()):
        kind = _BYTE_OF_WORD_BREAK.get(word & WB_MASK, BYTE_OTHER)
        kinds[byte] = BYTE_SPACE if word & SPACE else kind
    return kinds


def _line_bytes(properties: NDArray[np.uint16]) -> NDArray[np.uint8]:
    kinds = np.full(256, LINE_PLAIN, np.uint8)
    for c in np.flatnonzero(properties & SPACE).tolist():
        wide = LINE_WIDE if c >= 0x80 else LINE_SPACE
        kinds[chr(c).encode()[0]] = LINE_BREAK if c in LINE_BREAKS and c < 0x80 else wide
    return kinds


# The tables are constants of the compiled code: as arguments, every call would pass them on.
_properties, _foldings = _read()

PROPERTY_INDEX, PROPERTIES = _two_stages(_properties)
FOLDING_INDEX, FOLDINGS = _two_stages(_foldings)

WORD_BYTES = _word_bytes(_properties)
"""What a byte is to a word of ASCII characters: uint8[256], ``BYTE_*``."""

LINE_BYTES = _line_bytes(_properties)
"""What a byte is to a line: uint8[256], ``LINE_*``."""

del _properties, _foldings


@njit(inline="always")
def decode(text, i):  # type: ignore[no-untyped-def]
    """Decode the UTF-8 character at ``text[i]``: its code point and its length in bytes.

    ``text`` is uint8 with at least 3 bytes after ``i``. A byte that begins no well-formed sequence
    is U+FFFD of length 1. (Arrow strings are valid; what is not must still end.)
    """
    b0 = np.int64(text[i])
    if b0 < 0x80:
        return b0, 1
    b1 = np.int64(text[i + 1]) ^ 0x80
    if 0xC2 <= b0 < 0xE0 and b1 < 0x40:
        return (b0 & 0x1F) << 6 | b1, 2
    b2 = np.int64(text[i + 2]) ^ 0x80
    if 0xE0 <= b0 < 0xF0 and b1 < 0x40 and b2 < 0x40:
        return (b0 & 0x0F) << 12 | b1 << 6 | b2, 3
    b3 = np.int64(text[i + 3]) ^ 0x80
    if 0xF0 <= b0 < 0xF5 and b1 < 0x40 and b2 < 0x40 and b3 < 0x40:
        c = (b0 & 0x07) << 18 | b1 << 12 | b2 << 6 | b3
        if c < 0x110000:
            return c, 4
    return 0xFFFD, 1


@njit(inline="always")
def property_word(c):  # type: ignore[no-untyped-def]
    """The property word of the code point ``c``."""
    block = np.int64(PROPERTY_INDEX[c >> _BLOCK_BITS])
    return np.int64(PROPERTIES[(block << _BLOCK_BITS) + (c & (_BLOCK - 1))])


@njit(inline="always")
def fold(c):  # type: ignore[no-untyped-def]
    """Simple case folding (CaseFolding.txt, statuses C and S) of the code point ``c``."""
    block = np.int64(FOLDING_INDEX[c >> _BLOCK_BITS])
    return c + np.int64(FOLDINGS[(block << _BLOCK_BITS) + (c & (_BLOCK - 1))])
