"""Where the loss turns when text is read again and again."""

from __future__ import annotations

from dataflow.report.markup import Child, Safe, tag
from dataflow.report.sections.parts import Cell, Column, Row, figure, section, table
from mixtures.studies.analysis.outcome import Repetition, TierTurning
from mixtures.studies.report.charts import Series, lines
from mixtures.studies.wording import bare, interval, listed, number, signed


def repetition_section(found: Repetition) -> Safe:
    """Loss over epochs by tier, with the fit and where it turns."""
    series = [
        Series(
            tier.tier,
            tier.curve or _means(tier),
            [
                (p.epochs, loss, f"{p.arm}, seed {seed}: {number(loss, 4)}")
                for p in tier.points
                for seed, loss in zip(p.seeds, p.losses, strict=True)
            ],
            None if tier.least is None else (tier.least.low, tier.least.high),
        )
        for tier in found.tiers
    ]
    return section(
        "repetition",
        "Where it turns",
        "Every arm reads the same budget of tokens: the more epochs, the fewer documents.",
        figure(
            lines(series, found.unit, "epochs", f"{found.metric} over epochs by tier"),
            f"{found.metric} of every run by how often its text was read, all with one budget of "
            "tokens; lines: the fit, or the means where there is none. Bars at the floor: the "
            "interval of the epochs at which the loss is least.",
        ),
        _table(found),
        *(tag("p", text) for text in found.differences),
        *([_rises(found)] if found.gaps else []),
        *_notes(found),
    )


def _means(tier: TierTurning) -> list[tuple[float, float]]:
    return [(p.epochs, sum(p.losses) / len(p.losses)) for p in tier.points if p.losses]


def _table(found: Repetition) -> Safe:
    heads = [
        Column("Tier", False),
        Column("Least loss"),
        Column("Interval"),
        Column("Rises from"),
        Column("Interval"),
        Column("Worth under half from"),
        Column("Interval"),
        Column("Worse than fewest from", hint="by paired tests over seeds, no curve assumed"),
    ]
    rows = []
    for tier in found.tiers:
        cells: list[Cell | Child] = [tier.tier]
        for span in (tier.least, tier.knee, tier.half_worth):
            if span is None:
                cells += ["not identified", "–"]
            else:
                cells.append(Cell(number(span.value), span.value))
                cells.append(f"{number(span.low, 2)} to {number(span.high, 2)}")
        worse = tier.worse_from
        cells.append("not shown" if worse is None else Cell(f"{worse:g}", worse))
        rows.append(Row(cells))
    return table(heads, rows, "Turning points by tier, in epochs.", sortable=False)


def _rises(found: Repetition) -> Safe:
    heads = [
        Column("Epochs"),
        Column("Tier", False),
        Column("Rise of its loss"),
        Column("Other tier", False),
        Column("Rise of its loss"),
        Column("Difference"),
        Column("Interval"),
        Column("p", hint="two-sided, paired by seed, after Holm over all rows"),
        Column("Seeds"),
    ]
    rows = []
    for gap in found.gaps:
        rises = gap.rises
        rows.append(
            Row(
                [
                    Cell(f"{rises.epochs:g}", rises.epochs),
                    gap.one,
                    Cell(signed(rises.one), rises.one),
                    gap.other,
                    Cell(signed(rises.other), rises.other),
                    Cell(signed(rises.difference), rises.difference),
                    interval(rises.low, rises.high),
                    bare(rises.p_adjusted),
                    Cell(f"{rises.seeds}", rises.seeds),
                ]
            )
        )
    fewest = found.gaps[0].rises.fewest
    return table(
        heads,
        rows,
        f"What repetition costs: the loss at each number of epochs less that at {fewest:g}. No "
        "curve is assumed.",
        sortable=False,
    )


def _notes(found: Repetition) -> list[Safe]:
    """Why a tier has no answer, each reason once."""
    words = {
        "least": "least loss",
        "knee": "the rise",
        "half_worth": "the worth of repeated tokens",
        "worse_from": "worse than the fewest",
    }
    said = []
    for tier in found.tiers:
        reasons: dict[str, list[str]] = {}
        for name, note in tier.notes.items():
            reasons.setdefault(note, []).append(words.get(name, name))
        said += [
            tag("p", f"{tier.tier}, {listed(names)}: {note}.", class_="note")
            for note, names in reasons.items()
        ]
    return said
