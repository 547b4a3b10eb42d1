"""The page as a whole: header, sections, and the one file that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from dataflow.report.collect import Tally, collect
from dataflow.report.inputs import ReportInputs
from dataflow.report.markup import Safe, join, json_block, tag
from dataflow.report.numbers import compact, count, duration, exact, percent, size
from dataflow.report.samples import Samples, clip, take_samples
from dataflow.report.sections.corpus import corpus_section
from dataflow.report.sections.cost import cost_section, in_one_go
from dataflow.report.sections.duplicates import duplicates_section
from dataflow.report.sections.flow import (
    WIPED_OUT,
    dropped_share,
    flow_section,
    reasons_section,
    summed,
)
from dataflow.report.sections.images import images_section
from dataflow.report.sections.lookup import certificate_section, lookup_section
from dataflow.report.sections.parts import reason
from dataflow.report.sections.rules import rules_section, shown_rules
from dataflow.report.sections.tiers import tiers_section
from dataflow.report.shell import Page, assemble

_CONTENTS = (
    ("flow", "Flow"),
    ("reasons", "Reasons"),
    ("rules", "Rules"),
    ("duplicates", "Duplicates"),
    ("corpus", "Corpus"),
    ("tiers", "Tiers"),
    ("images", "Images"),
    ("cost", "Cost"),
    ("why", "Why"),
    ("certificate", "Certificate"),
)


def write_report(inputs: ReportInputs) -> str:
    """Make the report of a run: one HTML document that needs nothing beside itself.

    All text of documents is escaped or travels as JSON that the script shows as text; a content
    security policy allows this page's own style and script, by hash, and no request at all.

    Raises
    ------
    ReportError
        If tables are missing, lack columns, or are not row-aligned.
    """
    tally = collect(inputs)
    shown = shown_rules(tally)
    samples = take_samples(inputs, tally, shown)
    images, tiers = images_section(tally), tiers_section(tally)
    body = join(
        flow_section(tally),
        reasons_section(tally),
        rules_section(tally, shown),
        duplicates_section(tally, samples, inputs.lock),
        corpus_section(tally),
        tiers,
        images,
        cost_section(tally, inputs.summary),
        lookup_section(samples),
        certificate_section(inputs.summary, inputs.lock),
    )
    absent = {name for name, part in (("images", images), ("tiers", tiers)) if part is None}
    contents = [entry for entry in _CONTENTS if entry[0] not in absent]
    return _assemble(inputs, _header(tally, inputs), contents, body, samples)


def _assemble(
    inputs: ReportInputs,
    header: Safe,
    contents: Sequence[tuple[str, str]],
    body: Safe,
    samples: Samples,
) -> str:
    data = asdict(samples)
    del data["ledger"]
    name = clip(str(inputs.summary.get("name") or inputs.lock.get("name") or "corpus"), 80)
    return assemble(
        Page(
            title=f"{name} · corpus report",
            header=header,
            contents=contents,
            body=body,
            footer="Made by Leyden from the run’s own tables. Everything on this page can be asked "
            "of them with SQL.",
            without="Charts and tables are all here. Sampled documents and text differences need "
            "JavaScript.",
            script=resources.files("dataflow.report").joinpath("script.js").read_text("utf-8"),
            data=json_block("data", data),
        )
    )


def _header(tally: Tally, inputs: ReportInputs) -> Safe:
    whole = summed(tally)
    summary, lock = inputs.summary, inputs.lock
    figures = [
        (compact(whole.tokens), "tokens kept"),
        (compact(whole.kept.documents), f"of {compact(whole.read.documents)} documents kept"),
        (size(whole.kept.bytes), f"of {size(whole.read.bytes)} of text kept"),
        (
            percent(whole.dropped("dedup").documents, whole.read.documents),
            "of documents repeat others",
        ),
        _time(summary),
    ]
    name = clip(str(summary.get("name") or lock.get("name") or "corpus"), 80)
    description = clip(str(lock.get("description") or ""), 400)
    return tag(
        "header",
        tag("p", "Leyden corpus report", class_="kicker"),
        tag("h1", name),
        tag("p", description, class_="standfirst") if description else None,
        tag("p", *_story(tally), class_="story"),
        _alarms(tally),
        tag(
            "dl",
            *(tag("div", tag("dd", value), tag("dt", text)) for value, text in figures),
            class_="figures",
        ),
        tag(
            "dl",
            _pair("Recipe", str(lock.get("name") or name)),
            _pair("Logical root", str(summary.get("logical_root") or "not computed yet")),
            _pair("File root", str(summary.get("file_root") or "not computed yet")),
            class_="identity",
        ),
        class_="masthead",
    )


def _time(summary: Mapping[str, Any]) -> tuple[str, str]:
    """How long it took: by the clock, or in core time where a resumed build ran a part only."""
    if in_one_go(summary):
        return duration(float(summary.get("wall_seconds") or 0)), "from sources to shards"
    seconds = sum(float(step.get("seconds") or 0) for step in summary.get("steps") or [])
    return duration(seconds), "of core time, sources to shards"


def _pair(name: str, value: str) -> Safe:
    return tag("div", tag("dt", name), tag("dd", clip(value, 140)))


def _story(tally: Tally) -> list[Safe | str]:
    """The run in three sentences."""
    whole = summed(tally)
    parts: list[Safe | str] = [
        f"{exact(whole.read.documents)} documents were read from {exact(len(tally.sources))} "
        f"source{'s' if len(tally.sources) != 1 else ''}"
    ]
    if whole.unreadable:
        parts += [", ", count(whole.unreadable), " records could not be"]
    parts.append(
        f". {percent(whole.kept.documents, whole.read.documents)} of the documents and "
        f"{percent(whole.kept.bytes, whole.read.bytes)} of the text are in the shards."
    )
    if whole.drops:
        (step, rule), flow = max(whole.drops.items(), key=lambda item: (item[1].documents, item[0]))
        parts += [
            " Most of what is missing went for ",
            tag("b", clip(reason(step, rule), 60)),
            f": {percent(flow.documents, whole.dropped().documents)} of the dropped documents.",
        ]
    return parts


def _alarms(tally: Tally) -> Safe | None:
    wiped = [
        f"{clip(name, 60)} ({percent(totals.dropped().documents, totals.read.documents)})"
        for name, totals in sorted(tally.sources.items())
        if dropped_share(totals) > WIPED_OUT
    ]
    empty = [clip(n, 60) for n, t in sorted(tally.sources.items()) if not t.read.documents]
    if not wiped and not empty:
        return None
    parts = []
    if wiped:
        parts.append(
            tag(
                "p", tag("b", "More than half was dropped of: "), ", ".join(wiped), ". Is it meant?"
            )
        )
    if empty:
        parts.append(tag("p", tag("b", "Nothing was read from: "), ", ".join(empty), "."))
    return tag("div", *parts, class_="alarm", role="note")
