"""What each rule does: values and threshold, removal alone and at the margin, borderline cases."""

from __future__ import annotations

from collections import Counter

from dataflow.report.charts import bar, histogram
from dataflow.report.collect import Tally
from dataflow.report.markup import Safe, join, tag
from dataflow.report.numbers import bytes_, count, exact, percent, plain
from dataflow.report.rules import RuleTally
from dataflow.report.samples import clip
from dataflow.report.scales import coarsen
from dataflow.report.sections.parts import Cell, Column, Row, code, legend, section, table
from dataflow.signals import SIGNALS

MAX_SHOWN = 80
"""Rules with a chart and documents of their own; all are in the table."""


def shown_rules(tally: Tally) -> list[tuple[str, RuleTally]]:
    """Rules with a card, most effective first, each with its key on the page."""
    ordered = sorted(
        tally.book.tallies.items(), key=lambda item: (-item[1].alone, -item[1].marginal, item[0])
    )
    return [(f"r{i}", rule) for i, (_, rule) in enumerate(ordered[:MAX_SHOWN])]


def rules_section(tally: Tally, shown: list[tuple[str, RuleTally]]) -> Safe:
    """The table of all rules, then a card for each."""
    first = _recorded(tally)
    acting = [item for item in shown if item[1].alone]
    idle = [item for item in shown if not item[1].alone]
    return section(
        "rules",
        "What each rule does",
        "Rules overlap, and the ledger can name only the first. So each is measured in three ways "
        "that no order of rules changes: what it would remove were it alone; what only it "
        "removes, and would come back without it; and its fair share, for which a document that "
        "fails k rules counts 1/k for each (the Shapley value).",
        _overview(tally, shown, first)
        if tally.book.tallies
        else tag("p", "No rules.", class_="note"),
        tag("div", *(_card(key, rule) for key, rule in acting), class_="cards"),
        tag(
            "details",
            tag("summary", f"{len(idle)} rules that drop nothing"),
            tag("div", *(_card(key, rule) for key, rule in idle), class_="cards"),
            class_="idle",
        )
        if idle
        else None,
    )


def _recorded(tally: Tally) -> Counter[tuple[str, str]]:
    """Documents by (source, rule) as the ledger has them."""
    recorded: Counter[tuple[str, str]] = Counter()
    for source, totals in tally.sources.items():
        for (step, rule), flow in totals.drops.items():
            if step == "decide":
                recorded[(source, rule)] += flow.documents
    return recorded


def _overview(
    tally: Tally, shown: list[tuple[str, RuleTally]], first: Counter[tuple[str, str]]
) -> Safe:
    columns = [
        Column("Rule", False),
        Column("Keeps", False),
        Column("Applies to"),
        Column("Removes alone", hint="Documents that fail it, whatever the others say"),
        Column("", False),
        Column("At the margin", hint="Documents that fail this rule and no other"),
        Column("Fair share", hint="Each document that fails k rules counts 1/k for each of them"),
        Column("In the ledger", hint="Documents for which this was the first rule that failed"),
    ]
    keys = {id(rule): key for key, rule in shown}
    rows = []
    ordered = sorted(
        tally.book.tallies.items(), key=lambda item: (-item[1].alone, -item[1].marginal, item[0])
    )
    most = max((rule.alone for _, rule in ordered), default=0)
    for (name, _), rule in ordered[:400]:
        key = keys.get(id(rule))
        title = tag("a", name, href=f"#{key}") if key else name
        recorded = sum(first[(source, name)] for source in rule.sources)
        rows.append(
            Row(
                [
                    Cell(title, name),
                    Cell(condition(rule), name),
                    Cell(count(rule.applies), rule.applies),
                    Cell(
                        tag(
                            "span",
                            f"{exact(rule.alone)}",
                            tag("small", f" {percent(rule.alone, rule.applies)}"),
                        ),
                        rule.alone,
                    ),
                    Cell(bar(rule.alone, most, "drop"), rule.alone, "with-bar"),
                    Cell(count(rule.marginal), rule.marginal),
                    Cell(f"{rule.credit:,.1f}", rule.credit),
                    Cell(count(recorded), recorded),
                ],
                "" if rule.alone else "quiet",
            )
        )
    return table(columns, rows, "All rules, those that fail most documents first.")


def condition(rule: RuleTally) -> Safe:
    """What the rule demands, short: its bounds, and the sources it is for."""
    r = rule.rule
    parts: list[str] = []
    if r.min is not None and r.max is not None:
        parts.append(f"{plain(r.min)} to {plain(r.max)}")
    elif r.min is not None:
        parts.append(f"≥ {plain(r.min)}")
    elif r.max is not None:
        parts.append(f"≤ {plain(r.max)}")
    if r.in_ is not None:
        parts.append("in " + ", ".join(str(v) for v in r.in_))
    if r.not_in is not None:
        parts.append("not in " + ", ".join(str(v) for v in r.not_in))
    return tag("span", clip(" and ".join(parts), 70), title=clip(r.describe(), 400))


def _card(key: str, rule: RuleTally) -> Safe:
    signal = SIGNALS[rule.rule.signal]
    facts = [
        ("removes alone", rule.alone, rule.alone_bytes),
        ("at the margin", rule.marginal, rule.marginal_bytes),
    ]
    where = ", ".join(rule.sources)
    return tag(
        "article",
        tag(
            "header",
            tag("h3", rule.rule.name),
            tag("p", _meaning(rule), class_="meaning"),
            tag("p", tag("span", clip(f"for {where}", 160), class_="dim")),
        ),
        tag(
            "dl",
            *(
                tag(
                    "div",
                    tag("dt", name),
                    tag(
                        "dd",
                        count(n),
                        tag("small", f" {percent(n, rule.applies)} · ", bytes_(size)),
                    ),
                )
                for name, n, size in facts
            ),
            tag("div", tag("dt", "fair share"), tag("dd", f"{rule.credit:,.1f}")),
            class_="facts",
        ),
        _values(rule),
        tag(
            "details",
            tag("summary", "Borderline documents"),
            tag("div", class_="samples", data_rule=key),
        ),
        id=key,
        class_="card",
        title=None if signal.source == "Leyden" else signal.source,
    )


def _meaning(rule: RuleTally) -> Safe:
    r = rule.rule
    signal = SIGNALS[r.signal]
    bounds = []
    if r.min is not None:
        bounds.append(f"below {plain(r.min)}")
    if r.max is not None:
        bounds.append(f"above {plain(r.max)}")
    if r.in_ is not None:
        bounds.append("not one of " + ", ".join(str(v) for v in r.in_))
    if r.not_in is not None:
        bounds.append("one of " + ", ".join(str(v) for v in r.not_in))
    when = r.describe().partition(" when ")[2]
    return join(
        "Drops where ",
        code(r.signal),
        " is ",
        clip(" or ".join(bounds), 160),
        f", when {clip(when, 120)}" if when else None,
        ". ",
        tag("span", f"Counted: {signal.doc}.", class_="dim"),
    )


def _values(rule: RuleTally) -> Safe:
    if rule.histogram is None:
        return _categories(rule)
    coarse = coarsen(rule.histogram, rule.marks)
    if coarse is None or rule.kind is None:
        return tag("p", "It applied to no document.", class_="note")
    describe = (
        f"Histogram of {rule.rule.signal} over {exact(rule.applies)} documents; "
        f"{exact(rule.alone)} fail"
    )
    return tag(
        "figure",
        tag("div", histogram(coarse, rule.kind, rule.marks, describe=describe), class_="scroll"),
        tag(
            "figcaption",
            legend(("kept", "passes"), ("drop", "fails")),
            f" {SIGNALS[rule.rule.signal].unit}; heights by square root",
        ),
    )


def _categories(rule: RuleTally) -> Safe:
    totals: Counter[str] = Counter()
    for (value, _), n in rule.categories.items():
        totals[value] += n
    rows = []
    for value, n in sorted(totals.items(), key=lambda i: (-i[1], i[0]))[:12]:
        failing = rule.categories[(value, True)]
        kind = "drop" if failing else "kept"
        rows.append(
            Row(
                [
                    Cell(clip(value, 60), value),
                    Cell(count(n), n),
                    Cell(bar(n, max(totals.values()), kind), n, "with-bar"),
                    Cell("fails" if failing else "passes"),
                ]
            )
        )
    columns = [Column("Value", False), Column("Documents"), Column("", False), Column("", False)]
    return table(columns, rows, f"The most frequent values of {rule.rule.signal}.")
