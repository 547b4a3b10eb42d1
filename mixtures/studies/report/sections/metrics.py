"""Every metric of every arm, and whether a metric can tell good from bad."""

from __future__ import annotations

from dataflow.report.markup import Child, Safe, tag
from dataflow.report.sections.parts import Cell, Column, Row, section, table
from mixtures.studies.analysis.outcome import Analysis, MetricAnalysis
from mixtures.studies.wording import number


def metrics_section(analysis: Analysis) -> Safe:
    """Means by arm, and the discriminative power of each metric."""
    return section(
        "metrics",
        "Metrics",
        "Means over the finished runs of an arm; ± is the standard deviation between seeds.",
        _means(analysis),
        tag("h3", "Can the metric tell good from bad?"),
        _discrimination(analysis),
        *(
            tag("p", tag("b", name), f" is refused: {why}.", class_="note")
            for name, why in analysis.refused
        ),
    )


def _means(analysis: Analysis) -> Safe:
    arms = list(dict.fromkeys(s.arm for metric in analysis.metrics for s in metric.arms))
    heads = [Column("Metric", False), Column("Better", False), *(Column(arm) for arm in arms)]
    rows = []
    for metric in analysis.metrics:
        found = {summary.arm: summary for summary in metric.arms}
        cells: list[Cell | Child] = [metric.name, metric.better]
        for arm in arms:
            summary = found.get(arm)
            if summary is None:
                cells.append("–")
                continue
            sd = "" if summary.sd is None else f" ± {number(summary.sd, 2)}"
            body = [number(summary.mean, 4), tag("small", sd)]
            cells.append(Cell(body, summary.mean))
        rows.append(Row(cells))
    return table(heads, rows, "Values by arm.")


def _discrimination(analysis: Analysis) -> Safe:
    known = [m for m in analysis.metrics if m.discrimination is not None]
    if not known:
        metrics = analysis.metrics
        note = metrics[0].discrimination_note if metrics else "no metric was found"
        return tag("p", f"Not known: {note}.", class_="note")
    heads = [
        Column("Metric", False),
        Column("Gap of the obvious pair"),
        Column("σ between seeds"),
        Column("Δ/σ"),
        Column("Interval"),
        Column("Verdict", False),
    ]
    return table(heads, [_discriminated(m) for m in known], _caption(known[0]))


def _discriminated(metric: MetricAnalysis) -> Row:
    d = metric.discrimination
    assert d is not None
    kind = "good" if d.tells or d.by_pairs else "bad"
    return Row(
        [
            metric.name,
            Cell(number(d.gap), d.gap),
            Cell(number(d.sigma_seed), d.sigma_seed),
            Cell(number(d.ratio, 2), d.ratio),
            f"{number(d.low, 2)} to {number(d.high, 2)}",
            Cell(tag("span", d.text, class_=kind), class_="tight"),
        ]
    )


def _caption(metric: MetricAnalysis) -> str:
    d = metric.discrimination
    assert d is not None
    return (
        f"Discriminative power: the gap between {d.obvious} and {d.against}, which differ "
        "obviously, over the standard deviation between seeds."
    )
