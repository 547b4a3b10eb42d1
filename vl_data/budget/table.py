"""A budget as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vl_data.budget.amounts import shown
from vl_data.budget.plan import Budget, DrawBudget
from vl_data.budget.supply import Held

_HEADS = (
    "draw", "sources", "wanted", "text tokens", "image tokens", "documents", "images", "epochs",
    "at most", "missing", "new documents", "new images",
)  # fmt: skip
_LEFT = (0, 1)


def tell(budget: Budget, run: str) -> str:
    """A table a stage, and what is missing."""
    total, parts = sum(budget.split), ":".join(f"{float(part):g}" for part in budget.split)
    lines = [f"{shown(budget.tokens)} tokens over the stages {parts}, against {run}"]
    if total * 10**9 != budget.tokens:
        lines.append(
            f"(the parts add up to {float(total):g} billion, and each is scaled by "
            f"{budget.tokens / float(total) / 1e9:.4g})"
        )
    for stage in budget.stages:
        lines += [
            "",
            f"{stage.name}  {shown(stage.tokens)} tokens, images by {stage.view.tiling}, "
            f"sequences of {stage.view.length:,}",
            *_aligned([_HEADS, *map(_row, stage.draws)]),
        ]
        lines += [note for draw in stage.draws for note in _notes(draw)]
    pairs = budget.pairs
    lines += [
        "",
        f"{pairs.name}  {pairs.wanted:,} pairs with images wanted: {pairs.held:,} there, "
        f"{pairs.missing:,} missing; {pairs.of_text:,} of text alone",
    ]
    if budget.unused:
        lines += ["", f"no stage draws from {', '.join(budget.unused)}"]
    return "\n".join([*lines, "", "enough" if budget.enough else "NOT enough"])


def as_json(budget: Budget) -> dict[str, Any]:
    """The same for machines."""
    pairs = budget.pairs
    return {
        "tokens": budget.tokens,
        "split": [float(part) for part in budget.split],
        "scaled_by": budget.tokens / float(sum(budget.split)) / 1e9,
        "stages": [
            {
                "name": stage.name,
                "tokens": stage.tokens,
                "tiling": stage.view.tiling,
                "length": stage.view.length,
                "draws": [_draw_json(draw) for draw in stage.draws],
            }
            for stage in budget.stages
        ],
        "pairs": {
            "stage": pairs.name,
            "wanted": pairs.wanted,
            "available": pairs.held,
            "text_only": pairs.of_text,
            "missing": pairs.missing,
        },
        "unused_sources": list(budget.unused),
        "enough": budget.enough,
    }


def _draw_json(draw: DrawBudget) -> dict[str, Any]:
    return {
        "name": draw.name,
        "wanted_tokens": draw.wanted,
        "drawn_tokens": draw.drawn,
        "available": _held_json(draw.held),
        "epochs": draw.epochs,
        "most_epochs": draw.cap,
        "capped": draw.missing_tokens > 0,
        "missing": {
            "tokens": draw.missing_tokens,
            "documents": draw.missing_documents,
            "images": draw.missing_images,
        },
        "sources": [
            {"source": one.source, "tier": one.tier, "most_epochs": one.cap, **_held_json(one.held)}
            for one in draw.sources
        ],
    }


def _held_json(held: Held) -> dict[str, int]:
    return {
        "tokens": held.tokens,
        "text_tokens": held.text_tokens,
        "image_tokens": held.image_tokens,
        "documents": held.documents,
        "documents_with_images": held.pictured,
        "images": held.images,
        "left_out": held.left_out,
    }


def _row(draw: DrawBudget) -> tuple[str, ...]:
    held, missing = draw.held, draw.missing_tokens
    named = sorted({one.source for one in draw.sources})
    return (
        draw.name,
        ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "") or "none",
        shown(draw.wanted),
        shown(held.text_tokens),
        shown(held.image_tokens),
        shown(held.documents),
        shown(held.images),
        "-" if draw.epochs is None else _plain(draw.epochs),
        "-" if draw.cap is None else _plain(draw.cap),
        shown(missing) if missing else "",
        _new(draw.missing_documents) if missing else "",
        _new(draw.missing_images) if missing else "",
    )


def _notes(draw: DrawBudget) -> list[str]:
    notes = []
    if draw.held.left_out:
        notes.append(
            f"  {draw.name}: {draw.held.left_out:,} documents with images are longer than a "
            "sequence and left out"
        )
    if not draw.sources:
        notes.append(f"  {draw.name}: the run has no such source")
    return notes


def _new(count: int | None) -> str:
    return "?" if count is None else shown(count)


def _plain(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if place in _LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
