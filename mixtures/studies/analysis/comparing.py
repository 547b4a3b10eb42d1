"""Two arms compared by one metric: which runs, whether as pairs of seeds, and the test.

An arm needs four finished runs; a study that says ``few_seeds`` may do with two, and is labelled.
Arms of the same seeds are compared seed by seed. Where runs were lost and at least as many seeds as
a test needs are in both, those are; else, and between arms of different seeds, the means of runs
are compared without assuming equal variances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mixtures.statistics import (
    Compared,
    Components,
    StatisticsError,
    bootstrap,
    compare,
    detectable,
    holm,
    items_only,
)
from mixtures.statistics.comparison import RUNS
from mixtures.studies.analysis.outcome import Comparison, Verdict
from mixtures.studies.analysis.records import Expect, StudyData
from mixtures.studies.analysis.scores import ArmScores, Metric
from mixtures.studies.wording import counted, interval, percent, signed

DRAWS = 4_999
"""Of the bootstrap, which is a second opinion."""
ENOUGH = 4
FEW = 2
"""Finished runs that a test needs of each arm, and of a study that allows few seeds."""


@dataclass(frozen=True)
class Chosen:
    """The runs of a test: the treatment's, the baseline's, whether they are pairs."""

    treatment: ArmScores
    baseline: ArmScores
    paired: bool
    note: str = ""


@dataclass(frozen=True)
class Tested:
    """A comparison, and what the statistics said, variances too (None where no test was made)."""

    comparison: Comparison
    compared: Compared | None


def tested(data: StudyData, metric: Metric, arm: str, against: str, alternative: str) -> Tested:
    """The test of ``arm`` less ``against``; not adjusted for others yet, without a verdict.

    ``alternative`` is greater, less or two-sided, of the effect in the metric's own unit.
    """
    chosen = choose(data, metric, arm, against)
    if isinstance(chosen, str):
        note = chosen + _of_checkpoints(data, metric, arm, against)
        return Tested(Comparison(arm, against, "not tested", note, alternative), None)
    one, other = chosen.treatment.values, chosen.baseline.values
    level = 1 - data.alpha
    try:
        found = compare(
            one,
            other,
            alternative=alternative,
            paired=chosen.paired,
            level=level,
            few_seeds=data.few_seeds,
        )
    except StatisticsError as error:
        return Tested(Comparison(arm, against, "not tested", str(error), alternative), None)
    components = found.components
    assert components is not None
    again = bootstrap(one, other, paired=chosen.paired, level=level, draws=DRAWS)
    notes = [note for note in (chosen.note, _label(found)) if note]
    return Tested(
        Comparison(
            arm=arm,
            against=against,
            verdict="not shown",
            note="; ".join(notes),
            alternative=alternative,
            method=found.method,
            paired=found.paired,
            runs=found.runs,
            items=found.items,
            effect=found.effect,
            se=found.se,
            df=found.df,
            low=found.low,
            high=found.high,
            boot_low=again.low,
            boot_high=again.high,
            p=found.p,
            mde=_smallest(data, found, components),
            components=components.as_dict(),
        ),
        found,
    )


def _of_checkpoints(data: StudyData, metric: Metric, arm: str, against: str) -> str:
    """What the items alone say of the runs there are, where they are too few for a test."""
    one, other = metric.arms.get(arm), metric.arms.get(against)
    if one is None or other is None or metric.items < 2:
        return ""
    found = items_only(one.values, other.values, level=1 - data.alpha)
    return (
        f"; {found.label} differ by {signed(found.effect)}, {percent(found.level)} interval over "
        f"items {interval(found.low, found.high)}"
    )


def _smallest(data: StudyData, found: Compared, components: Components) -> float | None:
    """The smallest effect that a test of this design detects; None of runs that vary in nothing,
    as those of an arm and its copy do."""
    if found.se == 0:
        return None
    return detectable(
        components,
        min(found.runs),
        found.items,
        alpha=data.alpha,
        power=data.power,
        alternative=found.alternative,
    )


def _label(found: Compared) -> str:
    """What limits a result, such as ``few seeds``; nothing of a full one."""
    return "" if found.label == RUNS else found.label


def directed(metric: Metric, expect: Expect) -> str:
    """The one-sided hypothesis of an expectation."""
    up = (expect == "better") == (metric.better == "higher")
    return "greater" if up else "less"


def choose(data: StudyData, metric: Metric, arm: str, against: str) -> Chosen | str:
    """The runs to test, or why there is no test."""
    need = FEW if data.few_seeds else ENOUGH
    scores = {name: metric.arms.get(name) for name in (arm, against)}
    for name, found in scores.items():
        finished = 0 if found is None else len(found.seeds)
        if finished < need:
            planned = len(data.arms[name].seeds)
            return (
                f"{counted(finished, 'run')} of {planned} of {name} finished, and a test needs "
                f"{need}"
            )
    one, other = scores[arm], scores[against]
    assert one is not None
    assert other is not None
    planned_pairs = not data.study.get("unpaired") and (
        set(data.arms[arm].seeds) == set(data.arms[against].seeds)
    )
    common = tuple(seed for seed in other.seeds if seed in one.seeds) if planned_pairs else ()
    alone = sorted({*one.seeds, *other.seeds} - set(common))
    if common and not alone:
        return Chosen(one.take(common), other.take(common), True)
    if len(common) >= need:
        note = (
            f"{counted(len(alone), 'seed')} ({', '.join(map(str, alone))}) finished in one of the "
            "two arms only and left out"
        )
        return Chosen(one.take(common), other.take(common), True, note)
    note = ""
    if planned_pairs:
        note = f"only {counted(len(common), 'seed')} finished in both arms, compared without pairs"
    return Chosen(one, other, False, note)


def judged(
    metrics: Sequence[Metric], comparisons: Sequence[Comparison], alpha: float
) -> list[Comparison]:
    """Comparisons, each by its metric, with Holm's p over all of them that were tested, and a
    verdict each."""
    ps = [c.p for c in comparisons if c.p is not None]
    adjusted = iter(holm(ps).tolist() if ps else ())
    found = []
    for metric, c in zip(metrics, comparisons, strict=True):
        if c.p is None:
            found.append(c)
            continue
        p = float(next(adjusted))
        found.append(
            replace(c, p_adjusted=p, family=len(ps), verdict=_verdict(metric, c, p < alpha))
        )
    return found


def _verdict(metric: Metric, c: Comparison, seen: bool) -> Verdict:
    if not seen or c.effect is None:
        return "not shown"
    return "better" if c.effect * metric.sign > 0 else "worse"
