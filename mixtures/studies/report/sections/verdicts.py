"""Checks of the study itself: the null arm, and the order of the doses."""

from __future__ import annotations

from dataflow.report.markup import Child, Safe, tag
from dataflow.report.sections.parts import Cell, Column, Row, section, table
from mixtures.studies.analysis.outcome import Analysis
from mixtures.studies.wording import bare, interval, number, probability, signed


def verdicts_section(analysis: Analysis) -> Safe:
    """Whether the study sees nothing where there is nothing, and order where there is order."""
    parts: list[Child] = [*_nulls(analysis), *_orders(analysis)]
    return section(
        "checks",
        "Checks of the study itself",
        "A null arm is the baseline's mixture over other documents with other seeds: a study that "
        "sees a difference there sees too much. Doses have an order that is known beforehand.",
        *(parts or [tag("p", "This study has no null arm and no doses.", class_="note")]),
    )


def _nulls(analysis: Analysis) -> list[Safe]:
    rows = []
    for metric in analysis.metrics:
        for null in metric.nulls:
            c = null.comparison
            kind = {True: "good", False: "bad", None: "dim"}[null.passed]
            rows.append(
                Row(
                    [
                        f"{null.arm}, {metric.name}",
                        "–" if c.effect is None else signed(c.effect),
                        "–" if c.low is None or c.high is None else interval(c.low, c.high),
                        "–" if c.p is None else bare(c.p),
                        "–" if null.margin is None else f"± {number(null.margin)}",
                        Cell(tag("span", null.text, class_=kind), class_="wide"),
                    ]
                )
            )
    if not rows:
        return []
    heads = [
        Column("Null arm", False),
        Column("Effect"),
        Column("Interval"),
        Column("p, two-sided"),
        Column("Margin", hint="what the design would detect"),
        Column("Verdict", False),
    ]
    return [tag("h3", "Nothing where there is nothing"), table(heads, rows, "Null arms.")]


def _orders(analysis: Analysis) -> list[Safe]:
    rows = []
    for metric in analysis.metrics:
        order = metric.ordering
        if order is None:
            continue
        steps = ", ".join(
            f"{step.against} → {step.arm}: "
            + ("not tested" if step.effect is None else signed(step.effect))
            + ("" if step.p_adjusted is None else f" ({probability(step.p_adjusted)})")
            for step in order.steps
        )
        means = " · ".join(
            f"{arm} {number(mean, 4)}" for arm, mean in zip(order.arms, order.means, strict=True)
        )
        kind = "good" if order.monotone else "bad"
        rows.append(
            Row(
                [
                    metric.name,
                    Cell(means, class_="wide"),
                    Cell(steps, class_="wide"),
                    Cell(tag("span", order.text, class_=kind), class_="wide"),
                ]
            )
        )
    if not rows:
        return []
    heads = [
        Column("Metric", False),
        Column("Means by dose", False),
        Column("Steps", False),
        Column("Verdict", False),
    ]
    return [tag("h3", "Order where there is order"), table(heads, rows, "Arms by dose.")]
