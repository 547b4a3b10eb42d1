"""Pieces that several sections are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dataflow.report.markup import Child, Safe, join, tag

REASONS = {
    ("dedup", "exact"): "exact duplicates",
    ("dedup", "near"): "near duplicates",
    ("clean", "empty"): "empty after cleaning",
}


def reason(step: str, rule: str) -> str:
    """How the page calls the cause of a drop."""
    return REASONS.get((step, rule), rule)


def section(anchor: str, title: str, lead: Child, *body: Child) -> Safe:
    """A section of the page, with the sentence that says what it shows."""
    return tag(
        "section",
        tag("h2", title, id=f"{anchor}-title"),
        tag("p", lead, class_="lead"),
        *body,
        id=anchor,
        aria_labelledby=f"{anchor}-title",
    )


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, whether it holds numbers, and what it means."""

    title: Child
    number: bool = True
    hint: str | None = None


@dataclass
class Cell:
    """A cell with a value to sort by, or a class of its own."""

    body: Child
    sort: float | str | None = None
    class_: str = ""


@dataclass
class Row:
    """A row of a table; the first cell heads it."""

    cells: Sequence[Cell | Child]
    class_: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


def table(
    columns: Sequence[Column], rows: Sequence[Row], caption: str, *, sortable: bool = True
) -> Safe:
    """A table that scrolls sideways on narrow screens and sorts by its headings."""
    heads = [
        tag("th", c.title, scope="col", class_="num" if c.number else None, title=c.hint)
        for c in columns
    ]
    body = []
    for row in rows:
        cells = []
        for i, (column, cell) in enumerate(zip(columns, row.cells, strict=True)):
            item = cell if isinstance(cell, Cell) else Cell(cell)
            kind = f"{'num' if column.number else ''} {item.class_}".strip() or None
            sort = None if item.sort is None else str(item.sort)
            if i == 0:
                cells.append(tag("th", item.body, scope="row", class_=kind, data_sort=sort))
            else:
                cells.append(tag("td", item.body, class_=kind, data_sort=sort))
        body.append(tag("tr", *cells, class_=row.class_ or None, **row.attributes))
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", *heads)),
            tag("tbody", *body),
            class_="sortable" if sortable and len(rows) > 2 else None,
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def figure(picture: Safe, caption: Child, class_: str | None = None) -> Safe:
    """A chart with its caption."""
    return tag(
        "figure",
        tag("div", picture, class_="scroll"),
        tag("figcaption", caption),
        class_=class_,
    )


def legend(*entries: tuple[str, str]) -> Safe:
    """Colour keys: (class, meaning)."""
    return tag(
        "span",
        *(
            tag("span", tag("span", class_=f"swatch {kind}"), text, class_="key")
            for kind, text in entries
        ),
        class_="legend",
    )


def code(text: str) -> Safe:
    """Something a person would type, or a name from a file."""
    return tag("code", text)


def heat(share: float) -> str:
    """The class of a cell's shade, by share in [0, 1]."""
    if share <= 0:
        return ""
    return f"heat{min(9, max(1, round((share**0.5) * 9)))}"


def sentence(*parts: Child) -> Safe:
    """Words and numbers in a row."""
    return join(*parts)
