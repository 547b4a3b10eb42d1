"""The images: sizes, shapes and formats, images a document, and why some could not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from dataflow.report.charts import bar, histogram
from dataflow.report.collect import Tally
from dataflow.report.markup import Safe, tag
from dataflow.report.numbers import bytes_, compact, count, exact, percent, plain
from dataflow.report.samples import clip
from dataflow.report.scales import FineHistogram, Kind, coarsen
from dataflow.report.sections.parts import Cell, Column, Row, figure, legend, section, table
from dataflow.report.sections.tags import tags_part

MAX_ROWS = 24


def images_section(tally: Tally) -> Safe | None:
    """The section; None for a corpus in which no image was seen."""
    totals, refused = tally.images, refusals(tally)
    if not totals.images and not refused and tally.tags is None:
        return None
    return section(
        "images",
        "Images",
        [
            count(totals.images),
            " images (",
            bytes_(totals.bytes),
            f") stand in {exact(totals.documents)} documents. ",
            f"{percent(totals.kept, totals.images)} of them are in the shards, in "
            f"{exact(totals.kept_documents)} kept documents; ",
            count(sum(refused.values())),
            " could not be used.",
        ],
        tag(
            "div",
            _chart(totals.sides, "integer", "Longer side", "pixels of the longer side", compact),
            _chart(totals.aspects, "real", "Aspect", "longer side by shorter side", plain),
            class_="pair",
        ),
        tag(
            "div",
            _chart(totals.counts, "integer", "Images a document",
                   "images of a document that has any", compact),
            tag(
                "div",
                tag("h3", "Formats"),
                _shares(totals.formats, "Format", "Images by format, as their content says."),
            ),
            class_="pair",
        ),
        tag("h3", "Images that could not be used"),
        _shares(refused, "Reason", "Rows of ledger/unreadable that an image was the reason of.")
        if refused
        else tag("p", "None.", class_="note"),
        *([] if tally.tags is None else tags_part(tally.tags)),
    )  # fmt: skip


def refusals(tally: Tally) -> Counter[str]:
    """Unreadable rows whose reason is an image, by reason."""
    found: Counter[str] = Counter()
    for (_, reason), rows in tally.unreadable.items():
        if reason.startswith("image-") or reason == "marks-differ":
            found[reason] += rows
    return found


def _chart(
    values: FineHistogram, kind: Kind, title: str, unit: str, show: Callable[[float], str]
) -> Safe | None:
    coarse = coarsen(values, bins=40)
    if coarse is None:
        return None
    picture = histogram(
        coarse, kind, labels=("kept", "dropped"), describe=f"Histogram: {title}", show=show
    )
    keys = legend(("kept", "in kept documents"), ("drop", "in dropped ones"))
    return tag("div", tag("h3", title), figure(picture, [keys, f" {unit}; heights by square root"]))


def _shares(rows: Counter[str], name: str, caption: str) -> Safe:
    whole = sum(rows.values())
    ordered = sorted(rows.items(), key=lambda item: (-item[1], item[0]))[:MAX_ROWS]
    return table(
        [Column(name, False), Column("Images"), Column("Of all", False)],
        [
            Row(
                [
                    Cell(clip(label, 40), label),
                    Cell(count(number), number),
                    Cell([bar(number, whole), " ", percent(number, whole)], number, "with-bar"),
                ]
            )
            for label, number in ordered
        ],
        caption,
    )
