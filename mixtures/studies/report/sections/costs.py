"""What the runs cost, and what became of each."""

from __future__ import annotations

from dataflow.report.markup import Child, Safe, tag
from dataflow.report.numbers import compact, count, duration
from dataflow.report.sections.parts import Cell, Column, Row, section, table
from mixtures.studies.analysis.records import StudyData
from mixtures.studies.wording import number


def costs_section(data: StudyData) -> Safe:
    """A row a run."""
    seconds = sum(run.seconds for run in data.runs)
    tokens = sum(run.tokens for run in data.runs)
    facts = [
        ("runs planned", str(len(data.runs))),
        ("finished", str(sum(run.finished for run in data.runs))),
        ("tokens trained", compact(tokens)),
        ("time in runs", duration(seconds)),
    ]
    heads = [
        Column("Arm", False),
        Column("Seed"),
        Column("State", False),
        Column("Attempts"),
        Column("Tokens"),
        Column("Time"),
        Column("Training loss"),
        Column("Why", False),
    ]
    rows = []
    for run in data.runs:
        state: Child = run.state
        if not run.finished:
            state = tag("span", run.state, class_="badge bad")
        loss = "–" if run.final_loss is None else Cell(number(run.final_loss, 4), run.final_loss)
        rows.append(
            Row(
                [
                    run.arm,
                    Cell(str(run.seed), run.seed),
                    state,
                    Cell(str(run.attempts), run.attempts),
                    Cell(count(run.tokens), run.tokens),
                    Cell(duration(run.seconds), run.seconds),
                    loss,
                    Cell(run.why, class_="wide" if run.why else ""),
                ]
            )
        )
    return section(
        "costs",
        "What it cost",
        "Every run of the plan has a row, those without a result too.",
        tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in facts), class_="facts"),
        table(heads, rows, "Runs."),
    )
