"""HTML out of parts, in which what is not markup is text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Markup(str):
    """Markup that this package wrote; any other string is escaped."""

    __slots__ = ()


Part: TypeAlias = "str | int | Iterable[Part] | None"

_EMPTY = frozenset({"br", "image", "rect", "line"})
# Controls show as pictures of themselves, and characters that turn the direction as dots: what a
# text holds must be seen, and must not reach beyond its box.
_VISIBLE = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_VISIBLE |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F), 0xB7)


def element(name: str, /, *parts: Part, **attributes: str | float | None) -> Markup:
    """One element. A trailing underscore of an attribute's name is dropped, inner ones become
    hyphens; None writes no attribute."""
    said = "".join(
        f' {_attribute(key)}="{_text(f"{value:g}" if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{said}/>")
    return Markup(f"<{name}{said}>{markup(parts)}</{name}>")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def markup(part: Part) -> str:
    """A part as markup."""
    if part is None:
        return ""
    if isinstance(part, Markup):
        return str(part)
    if isinstance(part, str | int):
        return _text(str(part))
    return "".join(map(markup, part))


def _text(text: str) -> str:
    return escape(text.translate(_VISIBLE), quote=True)
