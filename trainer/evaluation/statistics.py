"""Means and ratios over documents or questions, with their standard errors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; ``error`` is None where one draw alone was seen."""

    value: float
    error: float | None

    def as_json(self) -> dict[str, float | None]:
        """The fields."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.4f}" + ("" if self.error is None else f" ±{self.error:.4f}")


def mean(values: npt.ArrayLike) -> Estimate:
    """The mean of independent draws, such as questions."""
    found = np.asarray(values, np.float64)
    return ratio(found, np.ones_like(found))


def ratio(over: npt.ArrayLike, under: npt.ArrayLike) -> Estimate:
    """Σ over / Σ under of independent pairs, such as the nats and the tokens of documents.

    The error is that of the ratio estimator, first order in 1/n (Cochran, Sampling Techniques,
    section 6.3): what a bootstrap over documents converges to, without its draws.

    Raises
    ------
    ValueError
        If there is no pair, or the sum below is not positive.
    """
    a, b = np.asarray(over, np.float64), np.asarray(under, np.float64)
    below, n = float(b.sum()), len(b)
    if not below > 0:
        raise ValueError(f"found a sum of {below} over {n} draws to divide by, expected above 0")
    value = float(a.sum()) / below
    if n < 2:
        return Estimate(value, None)
    spread = float(((a - value * b) ** 2).sum())
    return Estimate(value, math.sqrt(spread * n / (n - 1)) / below)
