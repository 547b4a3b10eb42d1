"""What came of a study: tests, checks, power, and one sentence."""

from __future__ import annotations

from dataclasses import replace

from mixtures.studies.analysis.checks import (
    discrimination,
    null_checks,
    ordering,
    seed_deviation,
)
from mixtures.studies.analysis.comparing import Tested, directed, judged, tested
from mixtures.studies.analysis.decision import decide, turns, warnings
from mixtures.studies.analysis.designs import power_table
from mixtures.studies.analysis.outcome import Analysis, ArmSummary, Comparison, MetricAnalysis
from mixtures.studies.analysis.records import StudyData
from mixtures.studies.analysis.repetition import repetition
from mixtures.studies.analysis.scores import Metric, collect_metrics

__all__ = ["analyse"]


def analyse(data: StudyData) -> Analysis:
    """Test what can be tested, check the study itself, and say what follows.

    Raises
    ------
    StudyError
        If the results of the runs do not fit each other.
    """
    metrics, refused = collect_metrics(data)
    compares = data.kind != "repetition"
    questions = [
        arm for arm in data.arms.values() if arm.name != data.baseline and arm.role != "null"
    ]
    tests = {
        metric.name: [
            tested(data, metric, arm.name, data.baseline, directed(metric, arm.expect))
            for arm in questions
        ]
        if compares
        else []
        for metric in metrics
    }
    verdicts = _families(metrics, tests, data.alpha)
    analysed = tuple(
        _metric(data, metric, tests[metric.name], verdicts[metric.name], compares)
        for metric in metrics
    )
    primary = next((metric for metric in metrics if metric.primary), None)
    turned = None if compares else repetition(data, primary)
    return Analysis(
        study=data.name,
        question=data.question,
        kind=data.kind,
        baseline=data.baseline,
        primary=data.primary if primary is None else primary.name,
        alpha=data.alpha,
        power=data.power,
        complete=data.complete,
        decision=decide(data, analysed) if compares else turns(data, turned),
        warnings=tuple(warnings(data, analysed, turned)),
        refused=tuple(refused),
        metrics=analysed,
        repetition=turned,
        planned=len(data.runs),
        finished=sum(run.finished for run in data.runs),
    )


def _families(
    metrics: list[Metric], tests: dict[str, list[Tested]], alpha: float
) -> dict[str, list[Comparison]]:
    """Verdicts with Holm's correction over the tests of the primary metric, which decides, and
    over those of all other metrics together, which explore."""
    found: dict[str, list[Comparison]] = {}
    for family in (True, False):
        mine = [metric for metric in metrics if metric.primary == family]
        flat = [test.comparison for metric in mine for test in tests[metric.name]]
        by_metric = [metric for metric in mine for _ in tests[metric.name]]
        found.update({metric.name: [] for metric in mine})
        for metric, comparison in zip(by_metric, judged(by_metric, flat, alpha), strict=True):
            found[metric.name].append(comparison)
    return found


def _metric(
    data: StudyData,
    metric: Metric,
    tests: list[Tested],
    verdicts: list[Comparison],
    compares: bool,
) -> MetricAnalysis:
    sigma = seed_deviation(data, metric)
    found = MetricAnalysis(
        name=metric.name,
        unit=metric.unit,
        better=metric.better,
        primary=metric.primary,
        items=metric.items,
        sigma_seed=None if sigma is None else sigma[0],
        arms=tuple(_summaries(metric)),
        comparisons=tuple(verdicts),
        discrimination=None,
        discrimination_note="a study of repetition has no obvious pair",
        nulls=(),
        ordering=None,
        power=None,
    )
    if not compares:
        return found
    tells, note = discrimination(data, metric, verdicts)
    return replace(
        found,
        discrimination=tells,
        discrimination_note=note,
        nulls=tuple(null_checks(data, metric)),
        ordering=ordering(data, metric),
        power=power_table(data, metric, tests, found.sigma_seed) if metric.whole else None,
    )


def _summaries(metric: Metric) -> list[ArmSummary]:
    found = []
    for arm, scores in metric.arms.items():
        means = scores.means
        sd = float(means.std(ddof=1)) if len(means) > 1 else None
        values = tuple(float(value) for value in means)
        found.append(ArmSummary(arm, scores.seeds, values, float(means.mean()), sd))
    return found
