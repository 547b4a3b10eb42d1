"""What the study could have seen, and what it would take to see more."""

from __future__ import annotations

from dataflow.report.markup import Child, Safe, join, tag
from dataflow.report.sections.parts import Cell, Column, Row, figure, section, table
from mixtures.studies.analysis.outcome import Analysis, MetricAnalysis, PowerTable
from mixtures.studies.report.charts import Series, lines
from mixtures.studies.wording import number, percent

_SHOWN = 4
"""Metrics whose tables are shown."""


def power_section(analysis: Analysis) -> Safe:
    """The smallest detectable effect by seeds and items."""
    shown = [m for m in analysis.metrics if m.power is not None][:_SHOWN]
    parts: list[Child] = [_metric(metric) for metric in shown]
    return section(
        "power",
        "What it could have seen",
        f"The smallest effect that a one-sided test at {percent(analysis.alpha)} finds in "
        f"{percent(analysis.power)} of studies of a design, by the noncentral t, with the "
        "variances that these runs show. They are estimates from few runs: read the table as "
        "orders of size.",
        *(parts or [tag("p", "Too few runs finished to know.", class_="note")]),
    )


def _metric(metric: MetricAnalysis) -> Safe:
    power = metric.power
    assert power is not None
    return join(
        tag("h3", metric.name),
        tag("div", _chart(metric, power), _table(metric, power), class_="pair"),
    )


def _chart(metric: MetricAnalysis, power: PowerTable) -> Safe:
    series = [
        Series(
            f"{n:,} items" if metric.items > 1 else metric.name.rpartition("/")[2],
            [(s, row[j]) for s, row in zip(power.seeds, power.mde, strict=True)],
            [
                (s, row[j], f"{s} seeds: {number(row[j])}")
                for s, row in zip(power.seeds, power.mde, strict=True)
            ],
        )
        for j, n in enumerate(power.items)
    ]
    text = f"Smallest detectable effect on {metric.name} by seeds"
    level = (power.target, power.target_text)
    return figure(
        lines(series, metric.unit, "runs an arm", text, level, from_zero=True),
        f"Smallest detectable effect, {metric.unit}. Dashed: {power.target_text}.",
    )


def _table(metric: MetricAnalysis, power: PowerTable) -> Safe:
    items = [f"{n:,} items" if metric.items > 1 else "detectable" for n in power.items]
    heads = [Column("Runs an arm"), *(Column(text) for text in items)]
    rows = [
        Row([str(s), *(Cell(number(value), value) for value in row)])
        for s, row in zip(power.seeds, power.mde, strict=True)
    ]
    needed = ["–" if n is None else str(n) for n in power.needed]
    rows.append(Row([f"to see {number(power.target)}", *needed], "total"))
    caption = (
        f"Smallest detectable effect ({metric.unit}); the last row: the runs an arm needed to "
        f"detect {power.target_text}."
    )
    return table(heads, rows, caption, sortable=False)
