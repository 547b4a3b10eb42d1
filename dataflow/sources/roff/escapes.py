"""Escape sequences inside a line of roff (groff(7), section "Escape sequences")."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataflow.sources.roff.characters import STRINGS, character

_NAME = r"(?:\((..)|\[([^\]\n]*)\]|(.))"
_ESCAPE = re.compile(
    r"\\(?:"
    r"\((?P<two>..)|\[(?P<long>[^\]\n]*)\]|C'(?P<quoted>[^'\n]*)'|N'(?P<code>\d+)'"
    r"|[fFmMYkgVnO][+-]?" + _NAME + r"|R'[^'\n]*'"
    r"|s(?:[+-]?\((?:..)|[+-]?\[[^\]\n]*\]|[+-]?'[^'\n]*'|[1-3]\d|[+-]?\d)?"
    r"|[hvwxHSlLDXAbBZ](?P<delimiter>['\"/|!\x02^]).*?(?P=delimiter)"
    r"|o(?P<q>['\"])(?P<over>.*?)(?P=q)"
    r"|(?P<space>[ ~0])|(?P<back>[eE\\])|(?P<plain>[-.'`_@#$tz]|[^\w\s])|.)",
    re.DOTALL,
)
_STRING = re.compile(r"\\\*" + _NAME)
_MARKS = {"-": "-", ".": ".", "'": "'", "`": "`", "_": "_", "t": "\t"}
_DEEP = 8
_LONG = 100_000


def comment_cut(line: str) -> str:
    r"""``line`` without a ``\"`` or ``\#`` comment."""
    at = line.find("\\")
    while at >= 0 and at + 1 < len(line):
        if line[at + 1] in '"#':
            return line[:at]
        at = line.find("\\", at + 2)
    return line


def interpolate(line: str, strings: Mapping[str, str]) -> str:
    """``line`` with the values of its strings; those of a string are looked up in turn."""
    for _ in range(_DEEP):
        if "\\*" not in line or len(line) > _LONG:
            break
        line = _STRING.sub(lambda m: _value(m, strings), line)
    return line


def _value(match: re.Match[str], strings: Mapping[str, str]) -> str:
    name = match[1] or match[2] or match[3] or ""
    name = name.split(" ")[0]
    return strings.get(name, STRINGS.get(name, ""))


def render(line: str) -> str:
    """The text of a line whose strings are interpolated."""
    return _ESCAPE.sub(_text, line) if "\\" in line else line


def _text(match: re.Match[str]) -> str:
    for group in ("two", "long", "quoted"):
        if match[group] is not None:
            return character(match[group])
    if match["code"] is not None:
        code = int(match["code"][:7])
        return chr(code) if 32 <= code < 0xD800 else ""
    if match["over"] is not None:
        return render(match["over"])[:1]
    if match["space"] is not None:
        return " "
    if match["back"] is not None:
        return "\\"
    return _MARKS.get(match["plain"] or "", "")
