"""What differs: the effects of every metric against the baseline, and what they rest on."""

from __future__ import annotations

from dataflow.report.markup import Child, Safe, join, tag
from dataflow.report.sections.parts import Cell, Column, Row, figure, section, table
from mixtures.studies.analysis.outcome import Analysis, Comparison, MetricAnalysis
from mixtures.studies.report.charts import ForestRow, forest
from mixtures.studies.wording import bare, interval, number, percent, probability, signed

_EXPLORED = 40
"""Of the metrics that do not decide, how many are drawn; the table of metrics has all."""


def effects_section(analysis: Analysis) -> Safe:
    """The forest plot of the primary metric, then the others, then the tests as a table."""
    parts: list[Child] = [_metric(analysis, m) for m in analysis.metrics if m.primary]
    others = [m for m in analysis.metrics if not m.primary]
    if others:
        title = f"The other metrics, which explore and decide nothing: {len(others)}"
        drawn = [_metric(analysis, m) for m in others[:_EXPLORED]]
        parts.append(tag("details", tag("summary", title), *drawn))
    return section(
        "effects",
        "What differs",
        f"Each arm less {analysis.baseline}, in the metric's own unit. Whiskers: the "
        f"{percent(1 - analysis.alpha)} interval; the unit of inference is the training run. "
        "Shaded: effects that this study would detect with less than "
        f"{percent(analysis.power)} power.",
        *(parts or [tag("p", "No arm could be compared.", class_="note")]),
    )


def _metric(analysis: Analysis, metric: MetricAnalysis) -> Safe:
    tested = [c for c in metric.comparisons if c.effect is not None]
    untested = [c for c in metric.comparisons if c.effect is None]
    title = f"{metric.name}" + (" (decides)" if metric.primary else "")
    parts: list[Child] = [tag("h3", title)]
    if tested:
        family = (
            f"over the {tested[0].family} tests of the metric that decides"
            if metric.primary
            else f"over the {tested[0].family} tests of all other metrics, which explore"
        )
        caption = f"{metric.unit}, {metric.better} is better. p after Holm {family}."
        parts.append(figure(_forest(metric, tested), caption))
        parts.append(_table(analysis, metric, tested))
    for one in untested:
        parts.append(tag("p", f"{one.arm}: not tested: {one.note}.", class_="note"))
    return join(*parts)


def _forest(metric: MetricAnalysis, tested: list[Comparison]) -> Safe:
    rows = []
    for c in tested:
        if c.effect is None or c.low is None or c.high is None:
            continue
        p = c.p_adjusted if c.p_adjusted is not None else c.p
        text = f"{signed(c.effect)} [{interval(c.low, c.high)}]"
        title = text if p is None else f"{text}, {probability(p)}"
        kind = c.verdict if c.verdict in ("better", "worse") else "none"
        rows.append(ForestRow(c.arm, c.effect, c.low, c.high, c.mde, text, kind, title))
    sides = ("better", "worse") if metric.better == "lower" else ("worse", "better")
    return forest(rows, sides, f"Effects on {metric.name} against the baseline, with intervals")


def _table(analysis: Analysis, metric: MetricAnalysis, tested: list[Comparison]) -> Safe:
    sign = {"greater": "> 0", "less": "< 0", "two-sided": "≠ 0"}
    heads = [
        Column("Arm", False),
        Column("Effect"),
        Column(f"{percent(1 - analysis.alpha)} interval"),
        Column("Bootstrap", hint="over runs and items together"),
        Column("Tested", False, "the hypothesis, said before the runs"),
        Column("p"),
        Column("p, Holm"),
        Column("Detectable", hint=f"with {percent(analysis.power)} power, by this design"),
        Column("Runs"),
        Column("Verdict", False),
    ]
    rows = []
    for c in tested:
        boot = "–"
        if c.boot_low is not None and c.boot_high is not None:
            boot = interval(c.boot_low, c.boot_high)
        verdict: Child = c.verdict
        if c.verdict in ("better", "worse"):
            verdict = tag("b", c.verdict, class_="good" if c.verdict == "better" else "bad")
        how = "pairs of seeds" if c.paired else "runs"
        note = [" ", tag("small", c.note)] if c.note else None
        rows.append(
            Row(
                [
                    c.arm,
                    Cell(signed(c.effect or 0), c.effect),
                    "–" if c.low is None or c.high is None else interval(c.low, c.high),
                    boot,
                    Cell(f"effect {sign[c.alternative]}, {how}", class_="tight"),
                    "–" if c.p is None else Cell(bare(c.p), c.p),
                    "–" if c.p_adjusted is None else Cell(bare(c.p_adjusted), c.p_adjusted),
                    "–" if c.mde is None else Cell(number(c.mde), c.mde),
                    f"{c.runs[0]} / {c.runs[1]}",
                    Cell([verdict, note], class_="wide" if c.note else "tight"),
                ]
            )
        )
    items = f"; {metric.items:,} items, crossed with the runs" if metric.items > 1 else ""
    return table(heads, rows, f"Tests of {metric.name}{items}.")
