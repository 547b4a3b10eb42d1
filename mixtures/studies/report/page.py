"""The page as a whole: the decision, what warns of it, and the sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from dataflow.report.markup import Safe, join, tag
from dataflow.report.numbers import compact, duration
from dataflow.report.shell import Page, assemble
from mixtures.studies.analysis.drawn import Drawn
from mixtures.studies.analysis.outcome import Analysis
from mixtures.studies.analysis.records import StudyData
from mixtures.studies.report.sections.costs import costs_section
from mixtures.studies.report.sections.effects import effects_section
from mixtures.studies.report.sections.metrics import metrics_section
from mixtures.studies.report.sections.mixture import mixture_section
from mixtures.studies.report.sections.power import power_section
from mixtures.studies.report.sections.repetition import repetition_section
from mixtures.studies.report.sections.training import training_section
from mixtures.studies.report.sections.verdicts import verdicts_section

_CONTENTS = (
    ("repetition", "Repetition"),
    ("effects", "Effects"),
    ("checks", "Checks"),
    ("metrics", "Metrics"),
    ("power", "Power"),
    ("training", "Training"),
    ("mixture", "Mixture"),
    ("costs", "Costs"),
)


def write_report(data: StudyData, analysis: Analysis, drawn: Mapping[str, Sequence[Drawn]]) -> str:
    """One HTML document; it asks nothing of a network."""
    repetition = analysis.repetition
    sections = {
        "repetition": None if repetition is None else repetition_section(repetition),
        "effects": effects_section(analysis),
        "checks": verdicts_section(analysis),
        "metrics": metrics_section(analysis),
        "power": power_section(analysis),
        "training": training_section(data),
        "mixture": mixture_section(drawn),
        "costs": costs_section(data),
    }
    if repetition is not None:
        # Its arms are points of a curve, and none is the one the others are tested against.
        sections["effects"] = sections["checks"] = sections["power"] = None
    shown = [(key, text) for key, text in _CONTENTS if sections[key] is not None]
    return assemble(
        Page(
            title=f"{analysis.study} · study",
            header=_header(data, analysis),
            contents=shown,
            body=join(*(sections[key] for key, _ in shown)),
            footer="Made by Leyden from the study’s own results; analysis.json holds every number "
            "of this page.",
            without="All of this page is here; with JavaScript its tables can be sorted.",
            style=resources.files("mixtures.studies.report")
            .joinpath("style.css")
            .read_text("utf-8"),
        )
    )


def _header(data: StudyData, analysis: Analysis) -> Safe:
    figures = [
        (f"{analysis.finished} / {analysis.planned}", "runs finished"),
        (str(len(data.arms)), "arms"),
        (compact(sum(run.tokens for run in data.runs)), "tokens trained"),
        (duration(sum(run.seconds for run in data.runs)), "time in runs"),
    ]
    study = data.study
    identity = [
        ("Model", str(study.get("model") or "–")),
        ("Stage", str(study.get("stage") or "–")),
        ("Tokens a run", str(study.get("tokens") or "–")),
        ("Baseline", analysis.baseline or "–"),
        ("Decided by", analysis.primary),
    ]
    return tag(
        "header",
        tag("p", "Leyden study", class_="kicker"),
        tag("h1", analysis.study),
        tag("p", analysis.question, class_="question") if analysis.question else None,
        _alarms(analysis),
        tag("p", analysis.decision, class_="decision"),
        tag(
            "dl",
            *(tag("div", tag("dd", value), tag("dt", text)) for value, text in figures),
            class_="figures",
        ),
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", value)) for name, value in identity),
            class_="identity",
        ),
        class_="masthead",
    )


def _alarms(analysis: Analysis) -> Safe | None:
    if not analysis.warnings:
        return None
    first = "" if analysis.complete else "This study is not complete. "
    return tag(
        "div",
        tag("p", tag("b", first), "Before you believe it:"),
        tag("ul", *(tag("li", text) for text in analysis.warnings)),
        class_="alarm",
        role="note",
    )
