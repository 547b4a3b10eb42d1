"""The model card: what a student is, and the figures of its evaluation, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from quality.reward.evaluation.evaluate import (
    FASTTEXT,
    LENGTH,
    PRIMARY,
    STUDENT,
    Bias,
    Evaluation,
)
from quality.reward.evaluation.measures import Interval
from quality.reward.labels import SCORES
from quality.reward.scores_file import student_scorer
from quality.reward.student import Student
from quality.reward.student.model import OUTPUTS, write_model

_LEADS = (
    "**It beats both baselines in each of these, with intervals that exclude 0: tiers are made "
    "with it by default.**"
)
_DOES_NOT = (
    "**It does not beat both baselines in each of these with an interval that excludes 0: tiers "
    "stay `unscored` unless a recipe asks for it.**"
)
_NAMES = {STUDENT: "student", LENGTH: "log(length)", FASTTEXT: "fastText"}


def as_json(found: Evaluation, scorer: str) -> dict[str, Any]:
    """All figures as plain values; ``scorer``: what the student is called."""

    def plain(intervals: dict[str, dict[str, Interval]]) -> dict[str, Any]:
        return {
            score: {who: value.as_json() for who, value in by.items()}
            for score, by in intervals.items()
        }

    def people(intervals: dict[str, Interval] | None) -> dict[str, Any] | None:
        return intervals and {who: value.as_json() for who, value in intervals.items()}

    return {
        "scorer": scorer,
        "documents": found.documents,
        "leads": found.leads,
        "spearman": plain(found.spearman),
        "partial": plain(found.partial),
        "ahead": plain(found.ahead),
        "ceiling": found.ceiling,
        "within_one": found.within,
        "category": found.category,
        "recall": found.recall,
        "votes": found.votes,
        "auc": people(found.auc),
        "auc_ahead": people(found.auc_ahead),
        "bias": {
            by: {
                score: [
                    {
                        "group": b.group,
                        "documents": b.documents,
                        "label": b.label,
                        "difference": b.difference.as_json(),
                    }
                    for b in rows
                ]
                for score, rows in scores.items()
            }
            for by, scores in found.bias.items()
        },
        "reliability": {s: [r.__dict__ for r in rows] for s, rows in found.reliability.items()},
        "injections": found.injections and found.injections.as_json(),
    }


def card(found: Evaluation, student: Student) -> str:
    """The linear student's card: ``card.md`` with the figures put in."""
    model = student.model
    english = next((b.documents for b in found.bias["language"]["depth"] if b.group == "en"), 0)
    return _filled(
        "card.md",
        scorer=student_scorer("linear", student.version),
        kilobytes=f"{len(write_model(model)) / 1000:,.0f}",
        signals=len(model.signals),
        scores=", ".join(SCORES),
        rubric=model.about.get("rubric"),
        categories=len(OUTPUTS) - len(SCORES),
        penalty=model.about.get("penalty"),
        documents=model.about.get("documents"),
        english=english,
        held=found.documents,
        command="`python -m quality evaluate CORPUS … --votes FILE --card FILE`",
        figures=figures(found),
    )


def figures(found: Evaluation) -> str:
    """What an evaluation found, in Markdown."""
    scorers = (STUDENT, LENGTH, FASTTEXT)
    baselines = (LENGTH, FASTTEXT)
    leads = [(s, *(str(found.ahead[s][who]) for who in baselines)) for s in PRIMARY]
    if found.auc_ahead:
        leads.append(("AUC on votes", *(str(found.auc_ahead[who]) for who in baselines)))
    return _filled(
        "figures.md",
        held=found.documents,
        agreement=_table(
            ("Spearman", *map(_NAMES.__getitem__, scorers), "two ratings", "share"),
            (
                (
                    score,
                    *(str(found.spearman[score][who]) for who in scorers),
                    f"{found.ceiling[score]:.3f}",
                    f"{found.spearman[score][STUDENT].value / found.ceiling[score]:.0%}",
                )
                for score in SCORES
            ),
        ),
        partial="; ".join(
            f"{score} {found.partial[score][STUDENT]}, fastText {found.partial[score][FASTTEXT]}"
            for score in SCORES
        ),
        lead=_table(("the student's lead", *(_NAMES[who] for who in baselines)), leads),
        votes=_votes(found),
        verdict=_LEADS if found.leads else _DOES_NOT,
        within=", ".join(f"{score} {found.within[score]:.1%}" for score in SCORES),
        category=f"{found.category:.1%}",
        recall=", ".join(f"{name} {share:.0%} of {n}" for name, (share, n) in found.recall.items()),
        calibration=_table(
            ("score", "from", "to", "documents", "mean score", "mean label"),
            (
                (
                    *(s, f"{r.low:g}", f"{r.high:g}"),
                    *(str(r.documents), f"{r.score:.2f}", f"{r.label:.2f}"),
                )
                for s in PRIMARY
                for r in found.reliability[s]
            ),
        ),
        bias="\n\n".join(_bias(by, found.bias[by]) for by in found.bias),
        injections=_injections(found),
    )


def _filled(name: str, **values: object) -> str:
    template = Path(__file__).with_name(name).read_text("utf-8")
    return Template(template).substitute(values)


def _votes(found: Evaluation) -> str:
    if found.auc is None:
        return "People's votes were not given."
    return (
        f"AUC of depth + helpfulness on {found.votes} votes of people to keep or drop: "
        + ", ".join(f"{_NAMES[who]} {value}" for who, value in found.auc.items())
        + "."
    )


def _injections(found: Evaluation) -> str:
    if found.injections is None:
        return "Not measured."
    i = found.injections
    return (
        f"{i.documents} documents that ask for a high score (`injections.jsonl`): mean depth "
        f"{i.depth:.2f}; {i.above} lie half a point or more above what their content deserves. The "
        f"same texts in front of held-out documents move depth by {i.moved_mean:+.2f} on average "
        f"and by {i.moved_most:+.2f} at most."
    )


def _bias(by: str, scores: dict[str, list[Bias]]) -> str:
    rows = [
        (one.group, str(one.documents), str(one.difference), str(other.difference))
        for one, other in zip(scores[PRIMARY[0]], scores[PRIMARY[1]], strict=True)
    ]
    return _table((by, "documents", *PRIMARY), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
    ]
    return "\n".join(lines)
