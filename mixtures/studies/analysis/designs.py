"""What designs of more or fewer runs and items would detect, with the variances that were found."""

from __future__ import annotations

from collections.abc import Sequence

from mixtures.statistics import detectable_grid, needed
from mixtures.studies.analysis.comparing import Tested
from mixtures.studies.analysis.outcome import PowerTable
from mixtures.studies.analysis.records import StudyData
from mixtures.studies.analysis.scores import Metric

SEEDS = (4, 6, 8, 12, 16, 24, 32)
MOST = 256
"""Runs an arm, up to which the table looks for a design."""


def power_table(
    data: StudyData, metric: Metric, tests: Sequence[Tested], target: float | None
) -> PowerTable | None:
    """The table, by the variances of the least sharp of the tests against the baseline.

    ``target`` is the effect that the last row asks for: the standard deviation between seeds, about
    what MiniMax-01 takes for its minimal detectable effect (arXiv:2501.08313, section 4.1.3). None
    where nothing was tested.
    """
    known = [test for test in tests if test.comparison.mde is not None]
    if not known or not target:
        return None
    least = max(known, key=lambda test: test.comparison.mde or 0)
    assert least.compared is not None
    components, alternative = least.compared.components, least.comparison.alternative
    assert components is not None
    seeds = tuple(sorted({*SEEDS, min(least.comparison.runs)}))
    items = _items(metric.items)
    grid = detectable_grid(
        components, seeds, items, alpha=data.alpha, power=data.power, alternative=alternative
    )
    return PowerTable(
        against=data.baseline,
        arm=least.comparison.arm,
        seeds=seeds,
        items=items,
        mde=tuple(tuple(float(value) for value in row) for row in grid),
        target=target,
        target_text="the standard deviation between seeds",
        needed=needed(
            target,
            components,
            items,
            alpha=data.alpha,
            power=data.power,
            alternative=alternative,
            most_seeds=MOST,
        ),
    )


def _items(count: int) -> tuple[int, ...]:
    if count == 1:
        return (1,)
    return tuple(dict.fromkeys(max(2, n) for n in (count // 4, count // 2, count, 2 * count)))
