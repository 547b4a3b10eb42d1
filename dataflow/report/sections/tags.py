"""Which capabilities the instruction pairs train, as a model tagged them: counts and long tail."""

from __future__ import annotations

from dataflow.report.charts import bar, columns
from dataflow.report.markup import Safe, tag
from dataflow.report.numbers import compact, count, exact, percent
from dataflow.report.samples import clip
from dataflow.report.sections.parts import Cell, Column, Row, figure, table
from dataflow.report.tags import TagTotals

MAX_ROWS = 24


def tags_part(totals: TagTotals) -> list[Safe]:
    """What a section says of tags."""
    tail = totals.tail
    model = str(totals.about.get("model", {}).get("model", "a model"))
    return [
        tag("h3", "Capabilities"),
        tag(
            "p",
            f"{exact(tail.tagged)} of {exact(totals.pairs)} instruction pairs in kept documents "
            f"have a tag by {clip(model, 60)}: {exact(tail.tags)} tags, {exact(tail.singletons)} "
            f"of them of a single pair. Half of the pairs have one of the {exact(tail.half)} most "
            f"frequent tags, 90 % one of {exact(tail.ninety)}, 99 % one of "
            f"{exact(tail.ninety_nine)}.",
            class_="lead",
        ),
        tag("div", _frequent(totals), _long_tail(totals), class_="pair"),
        tag("p", f"Tags: BLAKE3 {totals.digest}", class_="root dim"),
    ]


def _frequent(totals: TagTotals) -> Safe:
    rows = totals.distribution.slice(0, MAX_ROWS).to_pylist()
    whole = totals.tail.tagged
    return table(
        [Column("Tag", False), Column("Pairs"), Column("Of the tagged", False)],
        [
            Row(
                [
                    Cell(clip(row["tag"], 60), row["tag"]),
                    Cell(count(row["count"]), row["count"]),
                    Cell(
                        [bar(row["count"], whole), " ", percent(row["count"], whole)],
                        row["count"],
                        "with-bar",
                    ),
                ]
            )
            for row in rows
        ],
        f"The {len(rows)} most frequent tags.",
    )


def _long_tail(totals: TagTotals) -> Safe:
    """Tags by how many pairs they have, in powers of two."""
    counts = totals.distribution["count"].to_pylist()
    classes = [0] * max(value.bit_length() for value in counts)
    for value in counts:
        classes[value.bit_length() - 1] += 1
    rows = []
    for power, tags in enumerate(classes):
        low, high = 1 << power, (2 << power) - 1
        label = compact(low) if power == 0 else f"{compact(low)}–{compact(high)}"
        rows.append((label, tags, f"{exact(tags)} tags of {exact(low)} to {exact(high)} pairs"))
    picture = columns(rows, 190, "Tags by the number of their pairs")
    return tag(
        "div",
        tag("h3", "The long tail"),
        figure(picture, ["Tags by how many pairs they have; heights by square root"]),
    )
