"""Where the documents went: the funnel, the table of sources, reasons by source, bad records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dataflow.report.charts import bar
from dataflow.report.collect import SourceTotals, Tally
from dataflow.report.markup import Safe, join, tag
from dataflow.report.numbers import bytes_, compact, count, exact, percent, size
from dataflow.report.samples import clip
from dataflow.report.sankey import Stream, sankey
from dataflow.report.sections.parts import (
    Cell,
    Column,
    Row,
    code,
    figure,
    heat,
    reason,
    section,
    table,
)

STREAMS = 8
REASONS = 9
WIPED_OUT = 0.5
"""A source of which more than this part is dropped is called out."""

MAX_ROWS = 60
MAX_BAD = 60


@dataclass(frozen=True)
class _Metric:
    """What the funnel can be drawn in."""

    key: str
    title: str
    amount: Callable[[float], str]
    door: str
    note: str


_METRICS = (
    _Metric("documents", "Documents", lambda v: compact(round(v)), "Records seen", ""),
    _Metric(
        "bytes",
        "Bytes",
        size,
        "Text read",
        "Bytes of extracted text. Unreadable records have none.",
    ),
    _Metric(
        "tokens",
        "Tokens",
        compact,
        "Text read",
        "Kept tokens are counted. Those of dropped text are estimated from its bytes, at the "
        "bytes per token of what is kept of the same source.",
    ),
)


def flow_section(tally: Tally) -> Safe:
    """The funnel per source in documents, bytes and tokens, and the same as a table."""
    pictures, inputs = [], []
    for metric in _METRICS:
        checked = metric.key == "documents"
        identity = f"flow-{metric.key}"
        inputs.append(
            tag("input", type="radio", name="flow", id=identity, checked=checked, class_="pick")
        )
        pictures.append(_funnel(tally, metric))
    labels = tag(
        "div",
        *(tag("label", m.title, for_=f"flow-{m.key}") for m in _METRICS),
        class_="tabs",
    )
    return section(
        "flow",
        "Where the documents went",
        "Every record of every source, from the door to the shards. A ribbon is as thick as what "
        "flows through it; what falls out ends at the reason for it.",
        tag("div", *inputs, labels, *pictures, class_="switch"),
        _sources(tally),
    )


def _funnel(tally: Tally, metric: _Metric) -> Safe:
    # One order for all measures, so that a source keeps its place and colour.
    ordered = sorted(tally.sources.items(), key=lambda item: (-item[1].read.documents, item[0]))
    streams = [_stream(name, totals, tally, metric.key) for name, totals in ordered]
    if len(streams) > STREAMS + 1:
        streams = [*streams[:STREAMS], _joined(streams[STREAMS:])]
    early = _order(streams, lambda s: dict(s.early))
    late = _order(streams, lambda s: dict(s.late))
    streams = [
        Stream(s.name, _fold(dict(s.early), early), _fold(dict(s.late), late), s.kept)
        for s in streams
    ]
    picture = sankey(
        streams,
        early,
        late,
        metric.amount,
        metric.door,
        f"Flow of {metric.key} from {len(streams)} sources to the shards; the table below has "
        "the numbers",
    )
    return figure(
        picture, metric.note or "Hover over a ribbon for its number.", f"pane {metric.key}"
    )


def _stream(name: str, totals: SourceTotals, tally: Tally, metric: str) -> Stream:
    scale = 1.0
    if metric == "tokens":
        tokens, kept = totals.tokens, totals.kept.bytes
        if not tokens:
            tokens = sum(s.tokens for s in tally.sources.values())
            kept = sum(s.kept.bytes for s in tally.sources.values())
        scale = tokens / kept if kept else 0.0
    early: dict[str, float] = {}
    late: dict[str, float] = {}
    if metric == "documents" and totals.unreadable:
        early["unreadable"] = totals.unreadable
    for (step, rule), flow in totals.drops.items():
        side = early if step == "decide" else late
        value = flow.documents if metric == "documents" else flow.bytes * scale
        key = reason(step, rule)
        side[key] = side.get(key, 0) + value
    if metric == "documents":
        return Stream(name, early, late, totals.kept.documents)
    if totals.removed_bytes:
        late["cut from kept text"] = totals.removed_bytes * scale
    return Stream(name, early, late, (totals.kept.bytes - totals.inserted_bytes) * scale)


def _joined(streams: list[Stream]) -> Stream:
    early: dict[str, float] = {}
    late: dict[str, float] = {}
    for stream in streams:
        for total, part in ((early, stream.early), (late, stream.late)):
            for name, value in part.items():
                total[name] = total.get(name, 0) + value
    return Stream(f"{len(streams)} more sources", early, late, sum(s.kept for s in streams))


def _order(streams: list[Stream], side: Callable[[Stream], dict[str, float]]) -> list[str]:
    """Reasons by amount, the rarest of many folded into one."""
    totals: dict[str, float] = {}
    for stream in streams:
        for name, value in side(stream).items():
            totals[name] = totals.get(name, 0) + value
    names = sorted(totals, key=lambda n: (n != "unreadable", -totals[n], n))
    names = [name for name in names if totals[name] > 0]
    if len(names) > REASONS + 1:
        names = [*names[:REASONS], f"{len(names) - REASONS} more reasons"]
    return names


def _fold(side: dict[str, float], names: list[str]) -> dict[str, float]:
    folded: dict[str, float] = {}
    for name, value in side.items():
        key = name if name in names else names[-1] if names else name
        folded[key] = folded.get(key, 0) + value
    return folded


def dropped_share(totals: SourceTotals) -> float:
    """Which part of a source's documents was dropped."""
    return 1 - totals.kept.documents / totals.read.documents if totals.read.documents else 0.0


def _sources(tally: Tally) -> Safe:
    columns = [
        Column("Source", False),
        Column("Records", hint="Records seen, readable or not"),
        Column("Unreadable"),
        Column("Read"),
        Column("Rules", hint="Dropped by a rule"),
        Column("Duplicates", hint="Dropped as a copy or near copy of a document that is kept"),
        Column("Kept"),
        Column("Share kept", False, hint="Of the documents read"),
        Column("Text read"),
        Column("Text kept"),
        Column("Tokens"),
    ]
    ordered = sorted(tally.sources.items(), key=lambda item: (-item[1].read.bytes, item[0]))
    rows = [_source_row(name, totals) for name, totals in ordered[:MAX_ROWS]]
    if len(tally.sources) > 1:
        rows.append(_source_row("All sources", summed(tally), "total"))
    left_out = len(ordered) - MAX_ROWS
    note = f" The {left_out} smallest sources are left out." if left_out > 0 else ""
    return table(columns, rows, f"Sources, largest first.{note}")


def _source_row(name: str, totals: SourceTotals, class_: str = "") -> Row:
    share = dropped_share(totals)
    rules, copies = totals.dropped("decide"), totals.dropped("dedup")
    alarm = None
    if share > WIPED_OUT and not class_:
        alarm = [" ", tag("span", "over half dropped", class_="badge bad")]
    if totals.read.documents == 0:
        alarm = [" ", tag("span", "nothing read", class_="badge")]
    return Row(
        [
            Cell([clip(name, 60), alarm], name),
            Cell(count(totals.read.documents + totals.unreadable), totals.read.documents),
            Cell(count(totals.unreadable), totals.unreadable),
            Cell(count(totals.read.documents), totals.read.documents),
            Cell(count(rules.documents), rules.documents),
            Cell(count(copies.documents), copies.documents),
            Cell(count(totals.kept.documents), totals.kept.documents),
            Cell(
                [
                    bar(totals.kept.documents, totals.read.documents),
                    " ",
                    percent(totals.kept.documents, totals.read.documents),
                ],
                1 - share,
                "with-bar",
            ),
            Cell(bytes_(totals.read.bytes), totals.read.bytes),
            Cell(bytes_(totals.kept.bytes), totals.kept.bytes),
            Cell(count(totals.tokens), totals.tokens),
        ],
        class_,
    )


def summed(tally: Tally) -> SourceTotals:
    """All sources as one."""
    whole = SourceTotals()
    for totals in tally.sources.values():
        whole.unreadable += totals.unreadable
        whole.tokens += totals.tokens
        whole.removed_bytes += totals.removed_bytes
        whole.inserted_bytes += totals.inserted_bytes
        whole.read.add(totals.read.documents, totals.read.bytes)
        whole.kept.add(totals.kept.documents, totals.kept.bytes)
        for key, flow in totals.drops.items():
            whole.drops.setdefault(key, type(flow)()).add(flow.documents, flow.bytes)
    return whole


def reasons_section(tally: Tally) -> Safe:
    """Which reason took how much of which source, and the records that could not be read."""
    whole = summed(tally)
    by_size = sorted(whole.drops.items(), key=lambda i: (-i[1].documents, i[0]))
    ordered = sorted(tally.sources.items(), key=lambda item: (-item[1].read.bytes, item[0]))[:10]
    columns = [
        Column("Reason", False),
        Column("Step", False),
        Column("Documents"),
        Column("Of all read"),
        Column("Text"),
        *(Column(clip(name, 24), hint=f"Share of {name} dropped for this") for name, _ in ordered),
    ]
    rows = []
    for (step, rule), flow in by_size[:MAX_ROWS]:
        cells: list[Cell] = [
            Cell(tag("span", clip(reason(step, rule), 60)), reason(step, rule)),
            Cell(step, step),
            Cell(count(flow.documents), flow.documents),
            Cell(percent(flow.documents, whole.read.documents), flow.documents),
            Cell(bytes_(flow.bytes), flow.bytes),
        ]
        for _, totals in ordered:
            part = totals.drops.get((step, rule))
            n = part.documents if part else 0
            share = n / totals.read.documents if totals.read.documents else 0.0
            text = percent(n, totals.read.documents) if n else "·"
            cells.append(Cell(tag("span", text, title=exact(n)), share, heat(share)))
        rows.append(Row(cells))
    body = (
        table(columns, rows, "Reasons for which documents were dropped, by source.")
        if rows
        else tag("p", "No document was dropped.", class_="note")
    )
    return section(
        "reasons",
        "Why documents were dropped",
        "The ledger names one reason for each dropped document: the first rule it failed, or the "
        "document that it repeats. Shares are of the documents read from that source.",
        body,
        _unreadable(tally),
        _cleaning(tally),
    )


def _unreadable(tally: Tally) -> Safe:
    if not tally.unreadable:
        return tag("p", "Every record could be read.", class_="note good")
    columns = [
        Column("Reason", False),
        Column("Source", False),
        Column("Records"),
        Column("Of its records"),
        Column("For example", False),
    ]
    rows = []
    ordered = sorted(tally.unreadable.items(), key=lambda item: (-item[1], item[0]))
    for (source, why), n in ordered[:MAX_BAD]:
        totals = tally.sources[source]
        uri, offset, detail = tally.unreadable_examples[(source, why)]
        at = f" at {exact(offset)}" if offset else ""
        rows.append(
            Row(
                [
                    Cell(clip(why, 60), why),
                    Cell(clip(source, 60), source),
                    Cell(count(n), n),
                    Cell(percent(n, totals.unreadable + totals.read.documents), n),
                    Cell(
                        [tag("bdi", clip(uri, 110), class_="uri"), at, tag("br"),
                         tag("bdi", clip(detail, 100), class_="dim")],
                        class_="wide",
                    ),
                ]
            )
        )  # fmt: skip
    more = len(ordered) - MAX_BAD
    tail = f" {more} rarer pairs are left out." if more > 0 else ""
    return join(
        tag("h3", "Records that could not be read"),
        table(columns, rows, f"Unreadable records by reason and source.{tail}"),
    )


def _cleaning(tally: Tally) -> Safe | None:
    if not tally.spans:
        return None
    columns = [
        Column("Rule", False),
        Column("Passages"),
        Column("Cut"),
        Column("Put in their place"),
    ]
    rows = [
        Row(
            [
                Cell(code(clip(name, 60)), name),
                Cell(count(t.spans), t.spans),
                Cell(bytes_(t.removed), t.removed),
                Cell(bytes_(t.inserted), t.inserted),
            ]
        )
        for name, t in sorted(tally.spans.items())
    ]
    return join(
        tag("h3", "What was cut out of kept documents"),
        table(columns, rows, "Cleaning by rule."),
        *(
            tag(
                "details",
                tag("summary", "Examples of ", code(clip(name, 60))),
                tag("div", class_="samples", data_spans=clip(name)),
            )
            for name in sorted(tally.spans)
        ),
    )
