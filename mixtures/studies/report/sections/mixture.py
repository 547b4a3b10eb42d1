"""What each arm drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataflow.report.charts import bar
from dataflow.report.markup import Child, Safe, tag
from dataflow.report.numbers import count, percent
from dataflow.report.sections.parts import Cell, Column, Row, section, table
from mixtures.studies.analysis.drawn import Drawn
from mixtures.studies.wording import number


def mixture_section(drawn: Mapping[str, Sequence[Drawn]]) -> Safe:
    """Tokens available, drawn, and epochs of each component of each arm."""
    heads = [
        Column("Arm", False),
        Column("Component", False),
        Column("Documents"),
        Column("Tokens available"),
        Column("Drawn"),
        Column("Of the arm", False),
        Column("Epochs"),
        Column("Cap"),
    ]
    rows = []
    for arm, components in drawn.items():
        total = sum(part.drawn for part in components)
        for part in components:
            cells: list[Cell | Child] = [
                arm,
                part.component,
                Cell(count(part.documents), part.documents),
                Cell(count(part.tokens), part.tokens),
                Cell(count(part.drawn), part.drawn),
                Cell(
                    [bar(part.drawn, total), " ", percent(part.drawn, total)],
                    part.drawn,
                    "with-bar",
                ),
                Cell(number(part.epochs), part.epochs),
                Cell(str(part.cap), part.cap),
            ]
            rows.append(Row(cells))
    return section(
        "mixture",
        "What each arm drew",
        "By the plan of the arm's first finished run; the plans of its other seeds hold the same "
        "amounts in another order.",
        table(heads, rows, "Components of each arm.")
        if rows
        else tag("p", "No plans lie in this folder.", class_="note"),
    )
