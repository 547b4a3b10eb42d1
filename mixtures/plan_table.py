"""The table of ``python -m mixtures plan``, and a mixture as YAML to paste."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from dataflow.recipe.yaml_tree import dump
from mixtures.recipe.models import MixtureRecipe
from mixtures.recipe.shares import percent
from mixtures.resolving import Resolved, Row


def table(rows: Sequence[Row], budget: int) -> list[str]:
    """Lines: a head, a line a component, and totals."""
    sampled = any(row.repetition is not None for row in rows)
    head = [
        "component", "documents", "tokens", "wanted", "wanted tokens", "realised", "share",
        "epochs", "cap", *(["final epochs", "kept"] if sampled else []), "why",
    ]  # fmt: skip
    cells = [head]
    for row in rows:
        cells.append(
            [
                row.name,
                f"{row.documents:,}",
                f"{row.tokens:,}",
                percent(row.share),
                f"{row.wanted:,}",
                f"{row.realised:,}",
                percent(Fraction(row.realised, budget)),
                "-" if row.epochs is None else f"{row.epochs:.2f}",
                str(row.passes),
                *(_sampling(row) if sampled else []),
                "; ".join(row.why),
            ]
        )
    cells.append(
        [
            "total",
            f"{sum(row.documents for row in rows):,}",
            f"{sum(row.tokens for row in rows):,}",
            percent(sum((row.share for row in rows), Fraction(0))),
            f"{sum(row.wanted for row in rows):,}",
            f"{sum(row.realised for row in rows):,}",
            percent(Fraction(sum(row.realised for row in rows), budget)),
            *([""] * (len(head) - 7)),
        ]
    )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    last = len(head) - 1
    return [
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _sampling(row: Row) -> list[str]:
    repetition = "-" if row.repetition is None else f"{float(row.repetition):.2f}"
    return [repetition, "-" if row.kept is None else percent(row.kept)]


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain values; shares and repetitions as numbers."""
    found = []
    for row in rows:
        values: dict[str, Any] = {
            "component": row.name, "documents": row.documents, "tokens": row.tokens,
            "epoch_tokens": row.epoch_tokens, "share": float(row.share), "wanted": row.wanted,
            "realised": row.realised, "epochs": row.epochs, "cap": row.passes,
            "limit": row.limit, "why": list(row.why),
        }  # fmt: skip
        if row.repetition is not None:
            values["final_epochs"] = float(row.repetition)
            values["kept"] = None if row.kept is None else float(row.kept)
        found.append(values)
    return found


def as_yaml(recipe: MixtureRecipe, solved: Resolved) -> str:
    """The nearest mixture as a file has it: what there is to draw, and its exact shares."""
    assert solved.nearest is not None, "asked for where there is one"
    components: dict[str, Any] = {}
    for (name, part), share in zip(recipe.components.items(), solved.nearest, strict=True):
        fields = part.model_dump(mode="json", exclude_defaults=True)
        fields.pop("times", None)
        if share < part.floor:  # it has no more
            fields["floor"] = str(share)
        components[name] = {**fields, "weight": str(share)}
    return dump({"components": components})
