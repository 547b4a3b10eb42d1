"""What a design would detect: power, the least detectable effect, and the seeds it takes.

A design is a number of runs an arm and of items a run; the test is ``compare``'s. ``designs`` has
its power. Variances are taken as known; where they were estimated of few runs, so are the numbers
here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mixtures.statistics.components import Components
from mixtures.statistics.designs import Design
from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.hypotheses import Alternative, as_alternative, as_share

ALPHA, POWER = 0.05, 0.8
"""95 % and 80 %, as MiniMax-01 (arXiv:2501.08313, section 4.1.3) asks for."""

MOST_SEEDS = 1024


def power(
    effect: float,
    components: Components,
    seeds: int,
    items: int,
    *,
    alpha: float = ALPHA,
    alternative: str = "greater",
) -> float:
    """The chance that ``compare`` finds p < ``alpha`` where the true effect is ``effect``.

    ``seeds``: runs an arm; for ``greater`` and ``less`` the sign of ``effect`` counts.
    """
    kind, size = as_alternative(alternative), as_share(alpha, "alpha")
    return Design(components, seeds, items, size, kind).power(effect)


def detectable(
    components: Components,
    seeds: int,
    items: int,
    *,
    alpha: float = ALPHA,
    power: float = POWER,
    alternative: str = "greater",
) -> float:
    """The minimal detectable effect: the smallest that is found with the given power, above 0."""
    kind, size = as_alternative(alternative), as_share(alpha, "alpha")
    wanted = as_share(power, "power")
    if wanted <= size:
        raise StatisticsError(f"power: found {power}, expected more than alpha, {alpha}")
    direction: Alternative = "two-sided" if kind == "two-sided" else "greater"
    return Design(components, seeds, items, size, direction).detectable(wanted)


def detectable_grid(
    components: Components,
    seeds: Sequence[int],
    items: Sequence[int],
    *,
    alpha: float = ALPHA,
    power: float = POWER,
    alternative: str = "greater",
) -> NDArray[np.float64]:
    """``detectable`` of each design: float64 [seeds, items]."""
    return np.array(
        [
            [
                detectable(components, s, i, alpha=alpha, power=power, alternative=alternative)
                for i in items
            ]
            for s in seeds
        ]
    )


def needed(
    mde: float,
    components: Components,
    items: Sequence[int],
    *,
    alpha: float = ALPHA,
    power: float = POWER,
    alternative: str = "greater",
    most_seeds: int = MOST_SEEDS,
) -> tuple[int | None, ...]:
    """The least runs an arm, two or more, that detect ``mde`` at each number of items; None: not
    even ``most_seeds`` do, since items, or the seeds, leave too much variance."""
    if not mde > 0:
        raise StatisticsError(f"mde: found {mde}, expected an effect above 0")

    def of_items(count: int) -> int | None:
        def enough(seeds: int) -> bool:
            found = detectable(
                components, seeds, count, alpha=alpha, power=power, alternative=alternative
            )
            return found <= mde

        return _least(enough, most_seeds)

    return tuple(of_items(count) for count in items)


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 2 to ``most`` from which ``enough`` holds."""
    if not enough(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high
