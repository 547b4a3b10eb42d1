"""Curves of loss over epochs, fitted to many resampled sets of means at once.

``means`` and ``counts`` are float64 [sets, epochs]: the mean loss at each number of epochs, and how
many runs it is of (0: none, and the mean is not looked at). Every fit is least squares weighted by
``counts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Same = Literal["tokens", "documents"]


@dataclass(frozen=True)
class Fit:
    """Of each set: the ``place`` asked for, [sets]; its coefficients [sets, few]; the weighted sum
    of squares left, [sets]; and whether the place lies on an edge of where it was looked for."""

    place: Floats
    coefficients: Floats
    left: Floats
    low_edge: NDArray[np.bool_]
    high_edge: NDArray[np.bool_]


def log_effective(epochs: Floats, half_life: Floats, same: Same) -> Floats:
    """log of effective data, less that of one epoch over the same tokens or documents.

    Muennighoff et al. (arXiv:2305.16264, equation 5): U unique tokens, repeated R = epochs - 1
    times, are worth D' = U + U R* (1 - exp(-R/R*)) fresh ones. ``half_life`` is R*, [places]; the
    result is [places, epochs].
    """
    repeats = epochs[None, :] - 1
    worth = 1 - half_life[:, None] * np.expm1(-repeats / half_life[:, None])
    return np.log(worth / epochs[None, :] if same == "tokens" else worth)


def decay(epochs: Floats, means: Floats, counts: Floats, same: Same, places: Floats) -> Fit:
    """loss = a - b log D', with b not below 0 and R* the best of ``places``, which ascend in equal
    ratios; between places by a parabola."""
    return _profile(log_effective(epochs, places, same), np.log(places), means, counts, -1.0)


def knee(epochs: Floats, means: Floats, counts: Floats, places: Floats) -> Fit:
    """loss = a + c max(0, log2(epochs/place)), with c not below 0: level, then rising."""
    x = np.log2(epochs)[None, :] - np.log2(places)[:, None]
    return _profile(np.maximum(x, 0), np.log(places), means, counts, 1.0)


def quadratic(epochs: Floats, means: Floats, counts: Floats) -> Fit:
    """loss = c0 + c1 x + c2 x² in x = log2(epochs); the place is that of least loss in range."""
    x = np.log2(epochs)
    powers = np.stack([np.ones_like(x), x, x * x], axis=1)
    y = np.where(counts > 0, means, 0.0)
    normal = np.einsum("se,ei,ej->sij", counts, powers, powers)
    right = np.einsum("se,ei,se->si", counts, powers, y)
    c = np.linalg.solve(normal, right[..., None])[..., 0]
    left = (counts * np.square(y - c @ powers.T)).sum(axis=1)
    low, high = x.min(), x.max()
    ends = c @ np.array([[1, low, low * low], [1, high, high * high]]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = -c[:, 1] / (2 * c[:, 2])
    end = np.where(ends[:, 0] <= ends[:, 1], low, high)
    place = np.where(c[:, 2] > 0, np.clip(vertex, low, high), end)
    return Fit(np.exp2(place), c, left, place <= low, place >= high)


def _profile(shapes: Floats, scale: Floats, means: Floats, counts: Floats, sign: float) -> Fit:
    """loss = a + sign b shape, b not below 0, with the best of the shapes [places, epochs]."""
    y = np.where(counts > 0, means, 0.0)
    total = counts.sum(axis=1, keepdims=True)
    mean_y = (counts * y).sum(axis=1, keepdims=True) / total
    dy = np.where(counts > 0, y - mean_y, 0.0)
    s = counts @ shapes.T
    ss = counts @ (shapes * shapes).T - s * s / total
    sy = (counts * dy) @ shapes.T
    all_left = (counts * dy * dy).sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(ss > 1e-12, np.maximum(sign * sy / ss, 0.0), 0.0)
    left = np.maximum(all_left - 2 * sign * slope * sy + slope * slope * ss, 0)
    best = left.argmin(axis=1)
    rows, last = np.arange(len(best)), len(scale) - 1
    inner = np.clip(best, 1, last - 1)
    before, at, after = (left[rows, inner + k] for k in (-1, 0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = 0.5 * (before - after) / (before - 2 * at + after)
    shift = np.where((best == inner) & np.isfinite(shift), np.clip(shift, -0.5, 0.5), 0.0)
    step = scale[1] - scale[0]
    b = sign * slope[rows, best]
    a = mean_y[:, 0] - b * s[rows, best] / total[:, 0]
    return Fit(
        np.exp(scale[best] + shift * step),
        np.stack([a, b], axis=1),
        left[rows, best],
        best == 0,
        best == last,
    )
