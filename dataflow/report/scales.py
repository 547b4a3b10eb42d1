"""Histograms in two grains: fine fixed bins while rows stream by, a few dozen bins on the page.

The fine bins depend on the signal's kind alone, never on the data, so histograms of partitions add
up in any order. The coarse ones are chosen once all is known: around the bulk of the documents and
around the thresholds, which then lie on edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["fraction", "integer", "real"]

_FRACTION_BINS = 2000
_EXACT_INTEGERS = 1024
_PER_DECADE = 256
_REAL_PER_DECADE = 1024
_DECADES = 16
_REAL_FLOOR = 1e-6
_MAX_DECADES = 8
"""What a logarithmic axis shows at most: less than a 10^-8th of the largest is 'below'."""

_SIZES = {
    "fraction": _FRACTION_BINS + 1,
    "integer": _EXACT_INTEGERS + _PER_DECADE * _DECADES,
    "real": 1 + _REAL_PER_DECADE * (_DECADES + 6),
}


def fine_bins(kind: Kind, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The fine bin of each (finite) value; what lies outside goes to the first or last bin."""
    if kind == "fraction":
        # float32 holds .12 as .1199999973: without the nudge it would fall one bin too low.
        bins = np.floor(values * _FRACTION_BINS + 1e-3)
    elif kind == "integer":
        clipped = np.maximum(values, 0)
        above = np.log10(np.maximum(clipped, _EXACT_INTEGERS) / _EXACT_INTEGERS) * _PER_DECADE
        bins = np.where(clipped < _EXACT_INTEGERS, np.floor(clipped), _EXACT_INTEGERS + above)
    else:
        above = np.log10(np.maximum(values, _REAL_FLOOR) / _REAL_FLOOR) * _REAL_PER_DECADE
        bins = np.where(values <= 0, 0, 1 + above)
    result: NDArray[np.int64] = np.clip(bins, 0, _SIZES[kind] - 1).astype(np.int64)
    return result


def representatives(kind: Kind) -> NDArray[np.float64]:
    """A value that stands for each fine bin."""
    if kind == "fraction":
        values = (np.arange(_FRACTION_BINS + 1) + 0.5) / _FRACTION_BINS
        values[0], values[-1] = 0, 1
        return values
    if kind == "integer":
        steps = (np.arange(_PER_DECADE * _DECADES) + 0.5) / _PER_DECADE
        return np.concatenate([np.arange(_EXACT_INTEGERS), _EXACT_INTEGERS * 10**steps])
    steps = (np.arange(_SIZES["real"] - 1) + 0.5) / _REAL_PER_DECADE
    return np.concatenate([[0.0], _REAL_FLOOR * 10**steps])


class FineHistogram:
    """Counts per fine bin of documents in ``groups`` groups (such as passing and failing)."""

    def __init__(self, kind: Kind, groups: int = 2) -> None:
        self.kind: Kind = kind
        self.counts = np.zeros((groups, _SIZES[kind]), np.int64)

    def add(self, values: NDArray[np.float64], group: int | NDArray[np.int64] = 0) -> None:
        """Count values; ``group`` is one number or one per value."""
        bins = fine_bins(self.kind, values)
        flat = bins + np.asarray(group, np.int64) * self.counts.shape[1]
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)


@dataclass(frozen=True)
class Mark:
    """A threshold: its value, and whether it bounds from below (``min``) or from above."""

    value: float
    side: Literal["min", "max"]


@dataclass(frozen=True)
class Coarse:
    """A histogram to draw: ``edges`` (b + 1), ``counts`` (groups, b), what lies beyond them."""

    edges: tuple[float, ...]
    counts: NDArray[np.int64]
    below: NDArray[np.int64]
    above: NDArray[np.int64]
    log: bool


def nice(width: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten that is not below ``width``."""
    power = 10.0 ** math.floor(math.log10(width))
    for factor in (1, 2, 2.5, 5, 10):
        if width <= factor * power * (1 + 1e-9):
            return factor * power
    return 10 * power


def position(mark: Mark, kind: Kind) -> float:
    """Where a threshold line stands between the values it separates.

    What stands exactly on a maximum is still kept, so the line comes after the integer, or after
    the fine bin of the fraction.
    """
    if kind == "fraction" and mark.side == "max":
        return mark.value + 1 / _FRACTION_BINS
    whole = kind == "integer" and mark.value == int(mark.value)
    return mark.value + 1 if whole and mark.side == "max" else mark.value


def coarsen(fine: FineHistogram, marks: Sequence[Mark] = (), bins: int = 44) -> Coarse | None:
    """Choose axis and bins for what was counted; None when nothing was."""
    values = representatives(fine.kind)
    total = fine.counts.sum(axis=0)
    occupied = np.flatnonzero(total)
    if not len(occupied):
        return None
    cumulative = np.cumsum(total)
    low = float(values[np.searchsorted(cumulative, cumulative[-1] * 0.005, side="right")])
    high = float(values[np.searchsorted(cumulative, cumulative[-1] * 0.995)])
    lines = [position(mark, fine.kind) for mark in marks]
    low, high = min([low, *lines]), max([high, *lines])
    smallest = float(values[occupied[0]])
    positive = [v for v in (low, *lines) if v > 0]
    log = fine.kind != "fraction" and high > 60 * max(min(positive, default=1.0), 1e-3)
    edges = _log_edges(positive, high) if log else _linear_edges(fine.kind, low, high, lines, bins)
    if not log and smallest >= 0:
        edges = [max(edge, 0.0) for edge in edges]
    if fine.kind == "fraction":
        edges = [min(edge, 1.0) for edge in edges]
    edges = sorted(set(edges))
    slots = np.searchsorted(np.asarray(edges) - 1e-12, values, side="right")
    if fine.kind == "fraction" and edges[-1] == 1.0:
        slots[-1] = len(edges) - 1
    counts = np.zeros((fine.counts.shape[0], len(edges) + 1), np.int64)
    for group, row in enumerate(fine.counts):
        counts[group] = np.bincount(slots, weights=row, minlength=len(edges) + 1).astype(np.int64)
    return Coarse(tuple(edges), counts[:, 1:-1], counts[:, 0], counts[:, -1], log)


def _linear_edges(
    kind: Kind, low: float, high: float, lines: Sequence[float], bins: int
) -> list[float]:
    span = high - low
    if low > 0 and low < 0.4 * high:
        low, span = 0.0, high
    if lines:
        # Room on both sides of a threshold, so that it never lies on the rim.
        high = max(high, max(lines) + 0.12 * (span or 1))
        if min(lines) > 0:
            low = min(low, max(0.0, min(lines) - 0.12 * (span or 1)))
        span = high - low
    if span <= 0:
        span = max(abs(high) * 0.1, 1.0 if kind == "integer" else 1e-3)
        high = low + span
    if kind == "integer" and span <= bins:
        return [float(v) for v in range(math.floor(low), math.ceil(high) + 2)]
    width = nice(span / bins)
    anchor = lines[0] if lines else 0.0
    if kind == "integer":
        width = max(1.0, round(width))
    elif low == 0 and anchor > width:
        width = anchor / math.ceil(anchor / width)
    first = math.floor((low - anchor) / width + 1e-6)
    last = math.ceil((high - anchor) / width - 1e-6)
    return [anchor + k * width for k in range(first, last + 1)]


def _log_edges(positive: Sequence[float], high: float, per_decade: int = 8) -> list[float]:
    low = max(min(positive, default=1.0), high * 10.0**-_MAX_DECADES)
    first = math.floor(math.log10(low) * per_decade - 1e-6)
    last = math.ceil(math.log10(high) * per_decade + 1e-6)
    return [10 ** (k / per_decade) for k in range(first, last + 1)]
