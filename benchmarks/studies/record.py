"""What each repetition of a study found, a line each: judgements alone, without the runs.

A line is taken instead of running the repetition again where its key is the same: that of all that
decides the runs of the study as it was redrawn, wherever its files lie. So repetitions add up over
machines and days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import orjson

from benchmarks.harness import ROOT, commit
from mixtures.studies.analysis.outcome import Analysis, Comparison, MetricAnalysis
from mixtures.studies.arms import Arm
from mixtures.studies.errors import StudyError
from mixtures.studies.keys import run_key
from mixtures.studies.recipe import StudyRecipe

RECORD = ROOT / "benchmarks" / "studies" / "results.jsonl"


@dataclass(frozen=True)
class Judgement:
    """A test of an arm against another, and what its design's power follows from."""

    arm: str
    against: str
    effect: float | None
    se: float | None
    p: float | None
    alternative: str
    verdict: str
    note: str
    paired: bool
    runs: tuple[int, int]
    items: int
    components: dict[str, float]

    @classmethod
    def of(cls, c: Comparison) -> Self:
        """Of an analysis' comparison."""
        return cls(
            c.arm, c.against, c.effect, c.se, c.p, c.alternative, c.verdict, c.note, c.paired,
            c.runs, c.items, dict(c.components),
        )  # fmt: skip


@dataclass(frozen=True)
class Repetition:
    """One repetition by its primary ``metric``: tests against the baseline, ``steps`` from dose to
    dose, whether the doses are in order, and of each null arm its test and whether it passed."""

    key: str
    study: str
    commit: str
    metric: str
    alpha: float
    complete: bool
    measured: bool
    effects: tuple[Judgement, ...]
    steps: tuple[Judgement, ...]
    monotone: bool | None
    nulls: tuple[tuple[Judgement, bool | None], ...]

    @classmethod
    def of(cls, analysis: Analysis, key: str) -> Self:
        """Of a repetition's analysis."""
        metric: MetricAnalysis | None = next((m for m in analysis.metrics if m.primary), None)
        ordering = None if metric is None else metric.ordering
        return cls(
            key=key,
            study=analysis.study,
            commit=commit(),
            metric=analysis.primary,
            alpha=analysis.alpha,
            complete=analysis.complete,
            measured=metric is not None,
            effects=() if metric is None else tuple(map(Judgement.of, metric.comparisons)),
            steps=() if ordering is None else tuple(map(Judgement.of, ordering.steps)),
            monotone=None if ordering is None else ordering.monotone,
            nulls=()
            if metric is None
            else tuple((Judgement.of(n.comparison), n.passed) for n in metric.nulls),
        )

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Of a line of the record."""
        row = orjson.loads(line)
        for name in ("effects", "steps"):
            row[name] = tuple(_judgement(one) for one in row[name])
        row["nulls"] = tuple((_judgement(one), passed) for one, passed in row["nulls"])
        return cls(**row)


def _judgement(row: dict[str, Any]) -> Judgement:
    found = Judgement(**row)
    return replace(found, runs=(found.runs[0], found.runs[1]))


def key_of(study: StudyRecipe, arms: Sequence[Arm]) -> str:
    """The key of a redrawn study: of all that decides its runs, and how they are judged."""
    usual = study.precision or "usual"
    asked = [
        [arm.name, arm.asked.role, arm.asked.dose, arm.asked.expect,
         [[seed, arm.identity(seed, usual)] for seed in arm.seeds]]
        for arm in arms
    ]  # fmt: skip
    metrics = study.metrics.model_dump(mode="json")
    return run_key([study.baseline, study.alpha, study.power, metrics, asked])


def recorded(path: Path) -> dict[str, Repetition]:
    """The repetitions of a record by their keys; none where there is no file.

    Raises
    ------
    StudyError
        If a line is no repetition.
    """
    found = {}
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            one = Repetition.read(line)
        except (KeyError, TypeError, ValueError) as error:
            raise StudyError(
                f"{path}, line {number}: found no repetition ({error}), expected a line that "
                "`python -m benchmarks.studies` wrote; delete it, and it is run again"
            ) from error
        found[one.key] = one
    return found


def record(path: Path, one: Repetition) -> None:
    """Append a repetition."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(orjson.dumps(asdict(one)) + b"\n")
