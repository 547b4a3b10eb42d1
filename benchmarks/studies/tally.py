"""What repetitions of a study came to: how often each judgement was made, beside what was promised.

Every count has its exact interval (Clopper and Pearson 1934). An effect's promise is the power of
the study's own design, with the variances that each repetition found, at the mean effect of all
repetitions, of one test without correction. A null's promise is alpha; and as a study whose null
arms are a little worse each time would keep that promise, their mean difference is told too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.studies.record import Judgement, Repetition
from mixtures.statistics import Components, power

LEAST_NULLS = 20
"""Null pairs that a rate of false findings is told of."""


@dataclass(frozen=True)
class Count:
    """``found`` of ``of`` repetitions made a judgement; ``promised`` is its expected rate, ``low``
    to ``high`` the 95 % interval of the true one, ``kept`` whether that has the promise in it.

    ``effect`` is the mean of the repetitions that could be tested, ``corrected`` how many of them
    still say so after Holm; None where it is not an effect.
    """

    what: str
    found: int
    of: int
    promised: float | None
    low: float
    high: float
    kept: bool | None
    effect: float | None = None
    corrected: int | None = None


@dataclass(frozen=True)
class Mean:
    """The mean difference of ``pairs`` null pairs, ``low`` to ``high`` its 95 % interval and ``p``
    its two-sided test (Student's t over pairs)."""

    pairs: int
    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Tally:
    """All repetitions of a study by its primary metric; ``untested`` names what was lost."""

    study: str
    metric: str
    planned: int
    complete: int
    effects: tuple[Count, ...]
    order: Count | None
    nulls: Count | None
    null_mean: Mean | None
    untested: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def tally(study: str, repetitions: Sequence[Repetition]) -> Tally:
    """Count judgements over repetitions, one or more of them."""
    untested = [
        f"{one.study}: no finished run has {one.metric}" for one in repetitions if not one.measured
    ]
    untested += [
        f"{one.study}: {c.arm} against {c.against}: {c.note}"
        for one in repetitions
        for c in (*one.effects, *one.steps, *(null for null, _ in one.nulls))
        if c.p is None
    ]
    alpha = repetitions[0].alpha
    orders = [one.monotone for one in repetitions if one.monotone is not None]
    passed = [said for one in repetitions for _, said in one.nulls if said is not None]
    return Tally(
        study=study,
        metric=repetitions[0].metric,
        planned=len(repetitions),
        complete=sum(one.complete for one in repetitions),
        effects=tuple(_effects(repetitions, alpha)),
        order=_count("all doses in order", sum(orders), len(orders), None) if orders else None,
        nulls=_count("null pairs found to differ", passed.count(False), len(passed), alpha)
        if passed
        else None,
        null_mean=_null_mean(repetitions),
        untested=tuple(untested),
    )


def _null_mean(repetitions: Sequence[Repetition]) -> Mean | None:
    """Of all null arms that could be tested; None of fewer than two, or where they do not vary."""
    found = [c.effect for one in repetitions for c, _ in one.nulls if c.effect is not None]
    if len(found) < 2 or len(set(found)) == 1:
        return None
    test = stats.ttest_1samp(found, 0.0)
    interval = test.confidence_interval(0.95)
    return Mean(
        len(found), float(np.mean(found)), float(interval.low), float(interval.high),
        float(test.pvalue),
    )  # fmt: skip


def _effects(repetitions: Sequence[Repetition], alpha: float) -> list[Count]:
    """Each arm against the baseline, then each dose against the one below it; once each."""
    by_pair: dict[tuple[str, str], list[Judgement]] = {}
    for one in repetitions:
        known = {(c.arm, c.against) for c in one.effects}
        for c in [*one.effects, *(s for s in one.steps if (s.arm, s.against) not in known)]:
            if c.p is not None and c.effect is not None:
                by_pair.setdefault((c.arm, c.against), []).append(c)
    return [_effect(arm, against, tests, alpha) for (arm, against), tests in by_pair.items()]


def _effect(arm: str, against: str, tests: Sequence[Judgement], alpha: float) -> Count:
    effect = float(np.mean([c.effect for c in tests]))
    seen = sum(c.p is not None and c.p < alpha for c in tests)
    promised = float(np.mean([_power(c, effect, alpha) for c in tests]))
    corrected = sum(c.verdict in ("better", "worse") for c in tests)
    return _count(f"{arm} against {against}", seen, len(tests), promised, effect, corrected)


def _power(c: Judgement, effect: float, alpha: float) -> float:
    if not c.se:  # runs that vary in nothing: the test says what the effect is
        return float(c.p is not None and c.p < alpha)
    components = Components(**c.components, groups=1 if c.paired else 2, items=c.items)
    return power(effect, components, min(c.runs), c.items, alpha=alpha, alternative=c.alternative)


def _count(
    what: str,
    found: int,
    of: int,
    promised: float | None,
    effect: float | None = None,
    corrected: int | None = None,
) -> Count:
    interval = stats.binomtest(found, of).proportion_ci(method="exact")
    low, high = float(interval.low), float(interval.high)
    kept = None if promised is None else bool(low <= promised <= high)
    return Count(what, found, of, promised, low, high, kept, effect, corrected)
