"""An item, and files of items as ``python -m trainer evaluate --choices`` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from mixtures.items.json_lines import BadField, Row, read_rows


@dataclass(frozen=True)
class Item:
    """A query, its choices without letters, and the number of the right one.

    ``queries``: one for each choice, in the place of ``query``, where they differ. An empty query
    means that choices are whole texts. ``kind``: the benchmark's name, or ``generated``; ``source``
    is a group of it. ``about``: what else a line says.
    """

    id: str
    kind: str
    query: str
    choices: tuple[str, ...]
    answer: int
    queries: tuple[str, ...] = ()
    source: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """What comes before the right choice."""
        return self.queries[self.answer] if self.queries else self.query

    @property
    def right(self) -> str:
        """The right choice."""
        return self.choices[self.answer]

    def as_json(self) -> dict[str, Any]:
        """The item's line."""
        query: dict[str, Any] = {"queries": self.queries} if self.queries else {"query": self.query}
        source = {} if self.source is None else {"source": self.source}
        head = {"id": self.id, "kind": self.kind, **source}
        return {**head, **query, "choices": self.choices, "answer": self.answer, **self.about}


_OWN = {"id", "kind", "source", "query", "queries", "choices", "answer"}


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items, a JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(item.as_json()) + b"\n" for item in items))


def read_items(path: Path) -> list[Item]:
    """The items of a file that ``items generate`` or ``items read`` wrote, or of the same form.

    Raises
    ------
    ItemsError
        Naming the lines that are none.
    """
    return read_rows(path, _item)


def _item(row: Row) -> Item:
    choices = tuple(row.texts("choices"))
    if len(choices) < 2:
        raise BadField("choices", len(choices), "2 or more")
    queries = tuple(row.texts("queries")) if "queries" in row else ()
    if queries and len(queries) != len(choices):
        raise BadField("queries", len(queries), f"{len(choices)}, one a choice")
    kind = row.text("kind") if "kind" in row else "items"
    return Item(
        row.text("id") if "id" in row else f"{kind}-{row.line}",
        kind,
        "" if queries else row.text("query", empty=True),
        choices,
        row.number("answer", len(choices)),
        queries,
        row.text("source") if row.get("source") is not None else None,
        {name: value for name, value in row.items() if name not in _OWN},
    )
