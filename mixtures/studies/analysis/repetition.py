"""A study of repetition: where each tier's loss turns, and what lies between the tiers.

All arms have one budget of tokens, so that more epochs are of fewer documents.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from mixtures.statistics import (
    Estimate,
    StatisticsError,
    Turning,
    as_runs,
    rise_differences,
    turning,
    turning_difference,
)
from mixtures.studies.analysis.outcome import (
    Repetition,
    RiseGap,
    Span,
    TierPoint,
    TierTurning,
)
from mixtures.studies.analysis.records import StudyData
from mixtures.studies.analysis.scores import Metric
from mixtures.studies.errors import StudyError
from mixtures.studies.wording import interval, listed, number, percent, probability

_CURVE = 60
"""Points of a drawn curve."""
_SAID = {
    "least": "the epochs of least loss",
    "knee": "the epochs from which the loss rises",
    "half_worth": "the epochs after which a token read again is worth under half of a fresh one",
}


def repetition(data: StudyData, metric: Metric | None) -> Repetition | None:
    """The tiers by the primary metric; None where no arm of a tier finished.

    Raises
    ------
    StudyError
        If an arm names a tier without its epochs.
    """
    if metric is None:
        return None
    points = _points(data, metric)
    fits: dict[str, Turning] = {}
    tiers = []
    for tier, found in points.items():
        try:
            fits[tier] = _fit(data, metric, found)
            tiers.append(_turned(metric, tier, found, fits[tier]))
        except StatisticsError as error:
            tiers.append(_unturned(tier, found, str(error)))
    if not tiers:
        return None
    differences = _differences(data, points, fits)
    gaps = _gaps(data, metric, points)
    return Repetition(
        metric=metric.name,
        unit=metric.unit,
        tiers=tuple(tiers),
        differences=tuple(differences),
        gaps=tuple(gaps),
        text=_sentence(data, metric, tiers, differences, gaps),
    )


def _points(data: StudyData, metric: Metric) -> dict[str, list[TierPoint]]:
    tiers: dict[str, list[TierPoint]] = {}
    for arm in data.arms.values():
        if arm.tier is None:
            continue
        if arm.epochs is None or arm.epochs < 1:
            raise StudyError(
                f"arms.{arm.name}.repetition.epochs: found {arm.epochs}, expected how often its "
                "text is read, 1 or more"
            )
        scores = metric.arms.get(arm.name)
        if scores is not None:
            losses = tuple(float(value) for value in scores.means)
            point = TierPoint(arm.name, float(arm.epochs), scores.seeds, losses)
            tiers.setdefault(arm.tier, []).append(point)
    for found in tiers.values():
        found.sort(key=lambda point: point.epochs)
    return tiers


def _fit(data: StudyData, metric: Metric, points: list[TierPoint]) -> Turning:
    return turning(*_arrays(metric, points), same="tokens", level=1 - data.alpha)


def _arrays(metric: Metric, points: list[TierPoint]) -> tuple[list[float], list[float], list[int]]:
    """Epochs, losses and seeds of the runs. The statistics take what falls with better training:
    what rises is turned round."""
    epochs = [point.epochs for point in points for _ in point.losses]
    losses = [-metric.sign * loss for point in points for loss in point.losses]
    seeds = [seed for point in points for seed in point.seeds]
    return epochs, losses, seeds


def _turned(metric: Metric, tier: str, points: list[TierPoint], fit: Turning) -> TierTurning:
    return TierTurning(
        tier=tier,
        points=tuple(points),
        least=_span(fit.least),
        knee=_span(fit.knee),
        half_worth=_span(fit.half_worth),
        worse_from=fit.worse_from,
        curve=tuple(_curve(metric, points, fit)),
        curve_is=fit.curve,
        notes=dict(fit.notes),
    )


def _unturned(tier: str, points: list[TierPoint], why: str) -> TierTurning:
    notes = dict.fromkeys((*_SAID, "worse_from"), why)
    return TierTurning(tier, tuple(points), None, None, None, None, (), "", notes)


def _curve(metric: Metric, points: list[TierPoint], fit: Turning) -> list[tuple[float, float]]:
    """What is drawn between the points, if a curve describes them."""
    if fit.least is None and fit.half_worth is None:
        return []
    asked = np.geomspace(points[0].epochs, points[-1].epochs, _CURVE)
    return list(zip(asked.tolist(), (-metric.sign * fit.predict(asked)).tolist(), strict=True))


def _span(found: Estimate | None) -> Span | None:
    return None if found is None else Span(found.value, found.low, found.high)


def _differences(
    data: StudyData, points: dict[str, list[TierPoint]], fits: dict[str, Turning]
) -> list[str]:
    """What can be said of two tiers: by how many epochs one turns before the other."""
    seeds = {tier: min(len(point.seeds) for point in found) for tier, found in points.items()}
    said = []
    for one, other in combinations(fits, 2):
        for what, words in _SAID.items():
            try:
                found = turning_difference(
                    fits[one],
                    fits[other],
                    what,
                    level=1 - data.alpha,
                    seeds=min(seeds[one], seeds[other]),
                )
            except StatisticsError:
                continue  # the tier's own note says why
            first, last = (one, other) if found.value < 0 else (other, one)
            apart = f"{number(abs(found.value), 2)} epochs before {last}"
            between = (
                f"{percent(1 - data.alpha)} interval of {one} less {other} "
                f"{interval(found.low, found.high, 2)}"
            )
            sure = "" if found.low > 0 or found.high < 0 else ", which may be chance"
            said.append(f"By {words}, {first} turns {apart} ({between}){sure}.")
    return said


def _gaps(data: StudyData, metric: Metric, points: dict[str, list[TierPoint]]) -> list[RiseGap]:
    """What repetition costs one tier more than another, where both were run alike."""
    found = []
    for one, other in combinations(points, 2):
        try:
            first, second = (as_runs(*_arrays(metric, points[tier])) for tier in (one, other))
            rises = rise_differences(first, second, level=1 - data.alpha)
        except StatisticsError:
            continue  # too few runs: the warnings of the study say which are missing
        found += [RiseGap(one, other, rise) for rise in rises]
    return found


def _sentence(
    data: StudyData,
    metric: Metric,
    tiers: list[TierTurning],
    differences: list[str],
    gaps: list[RiseGap],
) -> str:
    clauses = [_clause(data, metric, tier) for tier in tiers]
    text = f"By {metric.name}, {'; '.join(clauses)}"
    sure = [said for said in differences if "may be chance" not in said]
    if sure:
        text += f"; {sure[0][0].lower()}{sure[0][1:-1]}"
    elif len(tiers) > 1:
        names = listed([tier.tier for tier in tiers])
        text += f"; that {names} turn at different epochs is not shown"
    seen = [gap for gap in gaps if gap.rises.p_adjusted < data.alpha]
    text += "".join(f"; {_dearer(data, gap)}" for gap in seen)
    if gaps and not seen:
        text += "; that repetition costs one of them more than another is not shown either"
    return f"{text}."


def _dearer(data: StudyData, gap: RiseGap) -> str:
    rises, level = gap.rises, percent(1 - data.alpha)
    dear, other = (gap.one, gap.other) if rises.difference > 0 else (gap.other, gap.one)
    return (
        f"{rises.epochs:g} epochs instead of {rises.fewest:g} cost {dear} "
        f"{number(abs(rises.difference))} more than {other} ({level} interval of {gap.one} less "
        f"{gap.other} {interval(rises.low, rises.high)}, {probability(rises.p_adjusted)} by Holm)"
    )


def _clause(data: StudyData, metric: Metric, tier: TierTurning) -> str:
    said = []
    level = percent(1 - data.alpha)
    if tier.least is not None:
        best = "has its least loss" if metric.better == "lower" else "is best"
        said.append(f"{best} at {_epochs(tier.least, level)}")
    if tier.half_worth is not None:
        said.append(
            f"has tokens worth under half of fresh ones from {_epochs(tier.half_worth, level)}"
        )
    if tier.worse_from is not None:
        first = tier.points[0].epochs
        said.append(
            f"is worse than at {first:g} epoch{'' if first == 1 else 's'} from "
            f"{tier.worse_from:g} on"
        )
    if not said:
        return f"where {tier.tier} turns is not identified ({tier.notes.get('least', 'no fit')})"
    return f"{tier.tier} {listed(said)}"


def _epochs(span: Span, level: str) -> str:
    low, high = number(span.low, 2), number(span.high, 2)
    return f"{number(span.value, 2)} epochs ({level} interval {low} to {high})"
