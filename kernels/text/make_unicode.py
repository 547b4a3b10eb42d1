"""Write the character table of this package from the ``regex`` package's copy of Unicode.

    python -m kernels.text.make_unicode > kernels/text/unicode-18.0.0.txt

Run by hand when Unicode moves on; results depend on the table, so its version is part of their
meaning. The table is checked in: what a word is must not change with the Python interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import regex
from regex import _regex  # simple case folding has no public name

from kernels.text import unicode as u

# datatrove's 159 terminal marks are Unicode's Sentence_Terminal of an earlier version, with three
# Khmer marks more. These are the differences to Unicode 18.0.
_TERMINAL_MORE = "17D6 17D9 17DA"
_TERMINAL_LESS = (
    "1B4E 1B4F 1B7F 2024 2CF9 2CFA 2CFB 2E60 2E61 FE12 FE15 FE16 113D4 113D5 16D6E 16D6F"
)

# datatrove's punctuation: the terminal marks, every printable ASCII character that is no letter, no
# digit and no space, these, and the control characters except tab and line feed. (U+FF11, a digit,
# is in its list; it stays for the values' sake.)
_SYMBOLS = (
    "AB B4 BB 2013 2014 2019 201C 201D 201E 2026 2236 2501 25BA 3001 3008 3009 300A 300B 300C 300D "
    "3010 3011 FF05 FF08 FF09 FF0C FF11 FF1A FF1B FF5E"
)


def _matching(pattern: str) -> set[int]:
    compiled = regex.compile(pattern, regex.V1)
    return {c for c in range(u.CODE_POINTS) if compiled.match(chr(c))}


def _code_points(hexadecimal: str) -> set[int]:
    return {int(c, 16) for c in hexadecimal.split()}


def properties() -> list[int]:
    """Return the property word of each code point (its layout: see ``kernels.text.unicode``)."""
    words = [0] * u.CODE_POINTS

    def mark(points: set[int], bits: int) -> None:
        for c in points:
            words[c] |= bits

    for value, name in enumerate(u.WORD_BREAK):
        mark(_matching(rf"\p{{WB={name}}}"), value)
    for value, name in enumerate(u.SENTENCE_BREAK):
        mark(_matching(rf"\p{{SB={name}}}"), value << u.SB_SHIFT)
    for value, name in enumerate(u.CATEGORY):
        if name:
            mark(_matching(name), value << u.CATEGORY_SHIFT)
    mark(_matching(r"\p{ExtPict}"), u.PICTOGRAPH)
    mark(_matching(r"[\p{White_Space}\x1c-\x1f]"), u.SPACE)
    terminal = _matching(r"\p{STerm}") - _code_points(_TERMINAL_LESS)
    terminal |= _code_points(_TERMINAL_MORE)
    control = {*range(9), *range(11, 32), *range(127, 160)}
    ascii_marks = _matching(r"[!-~--\p{Alnum}]")
    mark(terminal, u.TERMINAL)
    mark(terminal | control | ascii_marks | _code_points(_SYMBOLS), u.SYMBOL)
    return words


def foldings() -> list[int]:
    """Return what simple case folding adds to each code point."""
    flags = regex.UNICODE | regex.IGNORECASE
    added = [ord(_regex.fold_case(flags, chr(c))) - c for c in range(u.CODE_POINTS)]
    added[ord("I")] = ord("i") - ord("I")  # regex leaves it to both of its Turkish foldings
    return added


def runs(values: list[int], step: bool) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(first, last, stride, value)`` of the runs of equal values other than 0.

    With ``step``, code points two apart with zeros between are one run of stride 2: upper and
    lower case alternate in many scripts.
    """
    c = 0
    while c < len(values):
        value = values[c]
        if value == 0:
            c += 1
            continue
        last, stride = c, 1
        if step and values[c + 1] == 0 and values[c + 2] == value:
            stride = 2
        while (
            last + stride < len(values)
            and values[last + stride] == value
            and (stride == 1 or values[last + 1] == 0)
        ):
            last += stride
        yield c, last, stride, value
        c = last + 1


def main() -> None:
    out = sys.stdout
    out.write(f"# Unicode {u.VERSION}, written by kernels/text/make_unicode.py\n")
    out.write("# properties: first last bits (hexadecimal)\n")
    for first, last, _, value in runs(properties(), step=False):
        out.write(f"{first:X} {last:X} {value:X}\n")
    out.write("# simple case folding: first last stride (hexadecimal) distance (decimal)\n")
    for first, last, stride, value in runs(foldings(), step=True):
        out.write(f"{first:X} {last:X} {stride:X} {value}\n")


if __name__ == "__main__":
    main()
