"""The turns of a conversation, from rows as LLaVA, ShareGPT and chat services write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vl_data.mix.refusals import SampleRefused

TAG = "<image>"
"""Where an image stands in a turn's text."""

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}
"""Who speaks, by the names rows use, to the tokenizer's role."""

_FORMS = (("conversations", "from", "value"), ("messages", "role", "content"))


class Turn(NamedTuple):
    """What one side says; ``role`` is one of the values of `ROLES`, `TAG` stands for an image."""

    role: str
    text: str


def turns_of(row: Mapping[str, Any]) -> list[Turn]:
    """The turns of ``conversations`` (``from``, ``value``) or ``messages`` (``role``, ``content``).

    Raises
    ------
    SampleRefused
        ``missing-field``, naming the field, what was found, and what was expected.
    """
    for field, role, text in _FORMS:
        if field in row:
            return _turns(row[field], field, role, text)
    names = ", ".join(sorted(map(str, row))[:20])
    raise SampleRefused(
        "missing-field", f"found the fields {names or 'none'}, expected conversations or messages"
    )


def turns_in(value: Any, field: str) -> list[Turn]:
    """The turns of a list of either form; ``field`` is what errors name it by.

    Raises
    ------
    SampleRefused
        As `turns_of`.
    """
    first = value[0] if isinstance(value, Sequence) and value else None
    said = isinstance(first, Mapping) and "content" in first
    _, role, text = _FORMS[1 if said else 0]
    return _turns(value, field, role, text)


def _turns(value: Any, field: str, role_key: str, text_key: str) -> list[Turn]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
        found = "an empty list" if value == [] else type(value).__name__
        raise SampleRefused("missing-field", f"{field}: found {found}, expected a list of turns")
    turns = []
    for number, turn in enumerate(value):
        where = f"{field}[{number}]"
        if not isinstance(turn, Mapping):
            found = type(turn).__name__
            raise SampleRefused("missing-field", f"{where}: found {found}, expected an object")
        role, text = turn.get(role_key), turn.get(text_key)
        if not isinstance(role, str) or role not in ROLES:
            raise SampleRefused(
                "missing-field",
                f"{where}.{role_key}: found {role!r}, expected one of {', '.join(ROLES)}",
            )
        if not isinstance(text, str):
            raise SampleRefused(
                "missing-field", f"{where}.{text_key}: found {type(text).__name__}, expected text"
            )
        turns.append(Turn(ROLES[role], text))
    return turns


def image_refs(row: Mapping[str, Any]) -> list[str]:
    """What a row names as its images, in order: ``image`` or ``images``, one name or a list.

    Raises
    ------
    SampleRefused
        ``missing-field`` where a name is no text.
    """
    for field in ("image", "images"):
        value = row.get(field)
        if value is None or value == "":
            continue
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, Sequence) or not all(isinstance(n, str) and n for n in names):
            raise SampleRefused(
                "missing-field", f"{field}: found {value!r}, expected a name or a list of names"
            )
        return list(names)
    return []
