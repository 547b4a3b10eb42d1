"""Two conditions on the same questions: how much better one is, with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import blake3
import numpy as np
import numpy.typing as npt

DRAWS = 10_000
"""Resamples: a bound of the interval then moves by a hundredth of the error or so."""
LEVEL = 0.95
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Difference:
    """A mean of differences and the interval around it, 95 % unless said otherwise."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0

    def as_json(self) -> dict[str, float | bool]:
        """The fields."""
        return {**asdict(self), "excludes_zero": self.excludes_zero}

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired_difference(
    differences: npt.ArrayLike,
    clusters: Sequence[Hashable],
    *,
    seed: str,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Difference:
    """The mean of paired differences, with a percentile bootstrap over clusters (Efron and
    Tibshirani, An Introduction to the Bootstrap, chapter 13).

    Args:
        differences: ``[n]``, of each question what one condition scores above the other.
        clusters: ``[n]``, what questions share, such as their picture: those that share it are
            drawn together.
        seed: of the draws, such as the name of what is compared.

    Raises:
        ValueError: no difference.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        raise ValueError("found no difference, expected one at least")
    numbers = {cluster: n for n, cluster in enumerate(dict.fromkeys(clusters))}
    number = np.array([numbers[cluster] for cluster in clusters])
    sums = np.bincount(number, values)
    counts = np.bincount(number).astype(np.float64)
    generator = np.random.default_rng(int.from_bytes(blake3.blake3(seed.encode()).digest(8)))
    means = []
    for first in range(0, draws, max(1, _AT_ONCE // len(sums))):
        rows = min(draws - first, max(1, _AT_ONCE // len(sums)))
        drawn = generator.integers(0, len(sums), (rows, len(sums)))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(values.mean()), float(low), float(high))
