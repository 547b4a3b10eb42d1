"""Checks of a study itself: can its metric tell good from bad, does it see nothing where nothing
is, and are its doses in order?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mixtures.statistics import StatisticsError, discriminative_power, equivalence
from mixtures.studies.analysis.comparing import directed, judged, tested
from mixtures.studies.analysis.outcome import Comparison, Discrimination, NullCheck, Ordering
from mixtures.studies.analysis.records import Arm, StudyData
from mixtures.studies.analysis.scores import Metric
from mixtures.studies.wording import listed, number, percent, probability


def obvious_arm(data: StudyData, metric: Metric) -> Arm | None:
    """The arm that differs obviously from the baseline: the one of that role, or the largest dose
    with more than one finished run; None: the study has none."""
    arms = [arm for arm in data.arms.values() if arm.name != data.baseline]
    named = [arm for arm in arms if arm.role == "obvious"]
    doses = sorted((arm for arm in arms if arm.role == "dose"), key=lambda arm: -(arm.dose or 0))
    for arm in [*named, *doses]:
        scores = metric.arms.get(arm.name)
        if scores is not None and len(scores.seeds) > 1:
            return arm
    return None


def seed_deviation(data: StudyData, metric: Metric) -> tuple[float, int] | None:
    """The standard deviation of an arm's runs, pooled over arms, and its degrees of freedom.

    None where no arm has two finished runs.
    """
    squares, freedom = 0.0, 0
    for name, scores in metric.arms.items():
        if data.arms[name].same_as is None and len(scores.seeds) > 1:
            squares += float(np.square(scores.means - scores.means.mean()).sum())
            freedom += len(scores.seeds) - 1
    return (float(np.sqrt(squares / freedom)), freedom) if freedom else None


def discrimination(
    data: StudyData, metric: Metric, verdicts: Sequence[Comparison]
) -> tuple[Discrimination | None, str]:
    """Δ_obvious/σ_seed of a metric whose arms compare with the baseline as ``verdicts`` say; or why
    it is not known."""
    arm = obvious_arm(data, metric)
    if arm is None:
        return None, "the study has no obvious pair: no arm of role obvious or dose has finished"
    base = metric.arms.get(data.baseline)
    sigma = seed_deviation(data, metric)
    if base is None or sigma is None:
        return None, f"too few runs of {data.baseline} finished"
    gap = (float(metric.arms[arm.name].means.mean()) - float(base.means.mean())) * metric.sign
    runs = (len(metric.arms[arm.name].seeds), len(base.seeds))
    try:
        found = discriminative_power(abs(gap), sigma[0], sigma[1], runs=runs)
    except StatisticsError as error:
        return None, str(error)
    tells = found.tells and (gap < 0) == (arm.expect == "worse")
    wrong = found.tells and not tells
    text = "tells good from bad" if tells else "cannot tell good from bad"
    by_pairs = not found.tells and any(
        c.arm == arm.name and c.paired and c.p is not None and c.p < data.alpha for c in verdicts
    )
    if by_pairs:
        text = "tells good from bad by pairs of seeds, not by single runs"
    if wrong:
        better = arm.name if arm.expect == "worse" else data.baseline
        text = f"takes {better} for the better one"
    return (
        Discrimination(
            obvious=arm.name,
            against=data.baseline,
            gap=abs(gap),
            sigma_seed=sigma[0],
            ratio=found.ratio,
            low=found.low,
            high=found.high,
            tells=tells,
            by_pairs=by_pairs,
            reversed=wrong,
            text=text,
        ),
        "",
    )


def null_checks(data: StudyData, metric: Metric) -> list[NullCheck]:
    """Each null arm against the baseline, two-sided."""
    arms = [arm for arm in data.arms.values() if arm.role == "null"]
    return [_null(data, metric, arm) for arm in arms]


def _null(data: StudyData, metric: Metric, arm: Arm) -> NullCheck:
    test = tested(data, metric, arm.name, data.baseline, "two-sided")
    c = test.comparison
    if test.compared is None or c.effect is None or c.p is None:
        return NullCheck(arm.name, c, None, None, None, f"not tested: {c.note}")
    passed = c.p >= data.alpha
    margin = c.mde or None
    equivalent = (
        None if margin is None else equivalence(test.compared, margin, alpha=data.alpha).equivalent
    )
    if not passed:
        text = (
            f"differs by {number(abs(c.effect))} {metric.unit} ({probability(c.p)}), and should not"
        )
    elif equivalent:
        text = "no difference, and none larger than the margin"
    else:
        text = "no difference seen; one as large as the margin is not ruled out"
    return NullCheck(arm.name, c, margin, equivalent, passed, text)


def ordering(data: StudyData, metric: Metric) -> Ordering | None:
    """The doses in order, the baseline before them; None of fewer than two doses that finished."""
    doses = [arm for arm in data.arms.values() if arm.role == "dose" and arm.name in metric.arms]
    if len(doses) < 2 or data.baseline not in metric.arms:
        return None
    doses.sort(key=lambda arm: arm.dose or 0)
    names = [data.baseline, *(arm.name for arm in doses)]
    means = [float(metric.arms[name].means.mean()) for name in names]
    worse = [(b - a) * metric.sign < 0 for a, b in pairwise(means)]
    worse_than = directed(metric, "worse")
    pairs = list(pairwise(names))
    steps = [tested(data, metric, b, a, worse_than).comparison for a, b in pairs]
    steps = judged([metric] * len(steps), steps, data.alpha)
    return Ordering(
        arms=tuple(names),
        doses=(0.0, *(arm.dose or 0.0 for arm in doses)),
        means=tuple(means),
        monotone=all(worse),
        steps=tuple(steps),
        text=_order_text(names, all(worse), steps, data),
    )


def _order_text(
    names: Sequence[str], monotone: bool, steps: Sequence[Comparison], data: StudyData
) -> str:
    shown = ", ".join(names)
    if not monotone:
        return f"{shown} are not in order"
    unseen = [step for step in steps if step.verdict != "worse"]
    if not unseen:
        return f"{shown} are in this order, each step of it seen"
    pairs = [f"{step.against} and {step.arm}" for step in unseen]
    mdes = [step.mde for step in unseen if step.mde is not None]
    could = (
        f" (a step of {number(max(mdes))} would be, {percent(data.power)} of the time)"
        if mdes
        else ""
    )
    return f"{shown} are in this order, but {listed(pairs)} are not told apart{could}"
