"""Two arms compared; the unit of inference is the training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mixtures.statistics.components import Components
from mixtures.statistics.effects import estimate
from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.hypotheses import (
    Alternative,
    as_alternative,
    as_share,
    critical,
    p_values,
)
from mixtures.statistics.scores import (
    ENOUGH_SEEDS,
    as_scores,
    enough_seeds,
    same_items,
    same_seeds,
)

RUNS = "runs"
FEW_SEEDS = "few seeds"
CHECKPOINTS = "these checkpoints"


@dataclass(frozen=True)
class Compared:
    """The treatment less the baseline.

    Attributes
    ----------
    effect, se, df: the difference of means, its standard error and degrees of freedom.
    p: of ``alternative``, from Student's t.
    low, high: the two-sided interval of ``level``.
    label: what the result speaks of: ``runs``; ``few seeds``, the same of fewer than four runs an
        arm; or ``these checkpoints``, which says nothing of other seeds.
    runs: of treatment and baseline; ``items`` of both.
    components: what ``power`` and ``detectable`` take; None of ``these checkpoints``.
    """

    effect: float
    se: float
    df: float
    t: float
    p: float
    low: float
    high: float
    level: float
    alternative: Alternative
    method: str
    label: str
    paired: bool
    runs: tuple[int, int]
    items: int
    components: Components | None


def compare(
    treatment: Any,
    baseline: Any,
    *,
    alternative: str = "two-sided",
    paired: bool = True,
    level: float = 0.95,
    few_seeds: bool = False,
) -> Compared:
    """Whether arms differ, over seeds and items both.

    ``treatment`` and ``baseline``: float [runs, items] or [runs], of the same items. ``paired``:
    runs of one row have one seed. Which variances are estimated, and how: ``effects``. With one
    item this is the paired t test, or Welch's.

    Raises
    ------
    StatisticsError
        Scores that are no numbers, different items, pairs that do not match, fewer than four runs
        an arm without ``few_seeds`` (never fewer than two), or runs that all differ by the same
        number: they are no runs of different seeds.
    """
    kind, share = as_alternative(alternative), as_share(level, "level")
    one, other = as_scores(treatment, "treatment"), as_scores(baseline, "baseline")
    same_items(one, other)
    if paired:
        same_seeds(one, other)
    fewest = min(len(one), len(other))
    enough_seeds(fewest, few_seeds)
    found = estimate(one - other) if paired else estimate(one, other)
    items = one.shape[1]
    return _judged(
        float(found.effect),
        float(found.variance),
        float(found.df),
        alternative=kind,
        level=share,
        method=_method(paired, items, float(found.item)),
        label=RUNS if fewest >= ENOUGH_SEEDS else FEW_SEEDS,
        paired=paired,
        runs=(len(one), len(other)),
        items=items,
        components=Components(
            float(found.run), float(found.item), float(found.residual), 1 if paired else 2, items
        ),
    )


def items_only(
    treatment: Any, baseline: Any, *, alternative: str = "two-sided", level: float = 0.95
) -> Compared:
    """Whether these checkpoints differ on other items of the kind: a paired t test over items.

    What other seeds would give is not part of it: the result is labelled ``these checkpoints``.
    """
    kind, share = as_alternative(alternative), as_share(level, "level")
    one, other = as_scores(treatment, "treatment"), as_scores(baseline, "baseline")
    same_items(one, other)
    items = one.shape[1]
    if items < 2:
        raise StatisticsError(f"found {items} item, expected 2 or more to compare checkpoints by")
    difference = one.mean(axis=0) - other.mean(axis=0)
    return _judged(
        float(difference.mean()),
        float(difference.var(ddof=1)) / items,
        float(items - 1),
        alternative=kind,
        level=share,
        method="paired t test over items",
        label=CHECKPOINTS,
        paired=True,
        runs=(len(one), len(other)),
        items=items,
        components=None,
    )


def _judged(
    effect: float,
    variance: float,
    df: float,
    *,
    alternative: Alternative,
    level: float,
    method: str,
    label: str,
    paired: bool,
    runs: tuple[int, int],
    items: int,
    components: Components | None,
) -> Compared:
    se = math.sqrt(variance)
    # Differences of equal numbers leave roundings, which are no variance between runs.
    if se <= 1e-13 * abs(effect) or (se == 0 and effect == 0):
        if effect != 0:
            raise StatisticsError(
                f"found the same difference {effect:g} in every run, expected runs that differ by "
                "their seed; are they copies of one run?"
            )
        p = 1.0
        return Compared(0.0, 0.0, float(sum(runs)), 0.0, p, 0.0, 0.0, level, alternative,
                        f"{method} (the arms are equal)", label, paired, runs, items,
                        components)  # fmt: skip
    t = effect / se
    half = float(critical(df, 1 - level, "two-sided")) * se
    return Compared(
        effect=effect,
        se=se,
        df=df,
        t=t,
        p=float(p_values(t, df, alternative)),
        low=effect - half,
        high=effect + half,
        level=level,
        alternative=alternative,
        method=method,
        label=label,
        paired=paired,
        runs=runs,
        items=items,
        components=components,
    )


def _method(paired: bool, items: int, item: float) -> str:
    test = "paired t test of runs" if paired else "Welch's t test of runs"
    if items == 1:
        return test
    if item == 0:
        return f"{test} (items differ between the arms no more than by chance)"
    return "crossed random effects of seeds and items, seeds " + (
        "paired" if paired else "not paired"
    )
