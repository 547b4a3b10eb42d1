"""HTML that cannot forget to escape: what is not ``Safe`` becomes text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any, TypeAlias


class Safe(str):
    """Markup that this package wrote. Every other string is escaped when it enters a tag."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"

_VOID = frozenset({"br", "col", "hr", "input", "link", "meta"})
_SHAPES = frozenset({"circle", "line", "path", "polygon", "polyline", "rect", "stop"})


def render(child: Child) -> str:
    """The markup of a child: ``Safe`` as it is, text escaped, lists joined, None as nothing."""
    if child is None:
        return ""
    if isinstance(child, Safe):
        return str(child)
    if isinstance(child, str | int):
        return escape(visible(str(child)), quote=True)
    return "".join(render(item) for item in child)


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Safe:
    """One element.

    Attribute names: a trailing underscore is dropped (``class_``), inner ones become hyphens. True
    writes a bare attribute; False and None write none.
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        spelled = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {spelled}")
            continue
        text = short(value) if isinstance(value, float) else visible(str(value))
        parts.append(f' {spelled}="{escape(text, quote=True)}"')
    body = render(children)
    if name in _VOID:
        return Safe("".join(parts) + ">")
    if name in _SHAPES and not body:
        return Safe("".join(parts) + "/>")
    return Safe("".join(parts) + f">{body}</{name}>")


def join(*children: Child) -> Safe:
    """Children one after another, without an element around them."""
    return Safe(render(children))


def short(value: float) -> str:
    """A coordinate with at most two decimals, as short as it can be written."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}
_CONTROLS[0x7F] = 0x2421
_CONTROLS.update(dict.fromkeys(range(0x80, 0xA0), 0xFFFD))
# A carriage return before a newline is how many files end lines: showing it would only be noise.
_DIRECTION_MARKS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)
_BIDI = dict.fromkeys(_DIRECTION_MARKS, 0xB7)
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
_VISIBLE = {**_CONTROLS, **_BIDI}


def visible(text: str) -> str:
    """Text as it may be shown: control and direction-changing characters become visible marks."""
    text = text.replace("\r\n", "\n")
    if not text.isascii():
        text = text.translate(_SURROGATES)
    return text.translate(_VISIBLE)


def json_block(element_id: str, data: Any) -> Safe:
    """Data in a ``<script type="application/json">`` that no content can end or comment out."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Safe(f'<script type="application/json" id="{escape(element_id)}">{text}</script>')
