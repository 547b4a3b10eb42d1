"""Losses of runs that repeat documents: checked, freed of their seeds' levels, and redrawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.resampling import generator, weights
from mixtures.statistics.turning_fits import Floats


@dataclass(frozen=True)
class Runs:
    """Losses by seed and epochs.

    Attributes
    ----------
    epochs: [epochs], ascending. ``seeds``: [seeds], ascending.
    losses: [seeds, epochs], NaN where there is no run; with ``levels`` of the seeds taken away.
    p_epochs: of the F test that the losses differ by epochs at all, seeds being blocks.
    error: the mean square that neither seeds nor epochs explain, of ``error_df``.
    """

    epochs: Floats
    seeds: NDArray[np.int64]
    losses: Floats
    p_epochs: float
    error: float
    error_df: int

    def means(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Means and counts [sets, epochs]; ``drawn`` [sets, seeds]: how often each seed counts."""
        there = np.isfinite(self.losses)
        counts = drawn @ there.astype(np.float64)
        with np.errstate(invalid="ignore"):
            found = (drawn @ np.where(there, self.losses, 0.0)) / counts
        return found, counts

    def redrawn(self, draws: int) -> Floats:
        """How often each seed counts in ``draws`` drawings: the same for the same seeds, so that
        two tiers of the same seeds are drawn as pairs."""
        return weights(generator(self.seeds), draws, len(self.seeds)) * len(self.seeds)


def as_runs(epochs: Any, losses: Any, seeds: Any) -> Runs:
    """Three arrays [runs] as ``Runs``.

    Raises
    ------
    StatisticsError
        Other lengths, epochs below 1, losses that are not finite, two runs of the same epochs and
        seed, fewer than two seeds, or no repetition of either.
    """
    e, y, s = (np.asarray(v, np.float64) for v in (epochs, losses, seeds))
    if not (e.ndim == 1 and e.shape == y.shape == s.shape and e.size):
        raise StatisticsError(
            f"found {e.size} epochs, {y.size} losses and {s.size} seeds, expected one of each a run"
        )
    for at, (epoch, loss) in enumerate(zip(e, y, strict=True)):
        if not (np.isfinite(epoch) and epoch >= 1):
            raise StatisticsError(f"epochs[{at}]: found {epoch}, expected 1 or more")
        if not np.isfinite(loss):
            raise StatisticsError(
                f"losses[{at}] (seed {s[at]:g}, {epoch:g} epochs): found {loss}, expected a finite "
                "loss; leave out the run or repeat it"
            )
    names, columns = np.unique(e, return_inverse=True)
    who, rows = np.unique(s.astype(np.int64), return_inverse=True)
    table = np.full((len(who), len(names)), np.nan)
    for at, (row, column) in enumerate(zip(rows, columns, strict=True)):
        if np.isfinite(table[row, column]):
            raise StatisticsError(
                f"found two runs of seed {who[row]} and {names[column]:g} epochs (the second at "
                f"{at}), expected one"
            )
        table[row, column] = y[at]
    if len(who) < 2:
        raise StatisticsError(
            "found runs of one seed, expected two or more: one says nothing of the variance"
        )
    return _freed(names, who, table, rows, columns, y)


def _freed(
    names: Floats,
    who: NDArray[np.int64],
    table: Floats,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    y: Floats,
) -> Runs:
    """The additive model seed + epochs by least squares; the seeds' levels are taken away."""
    of_seed = np.eye(len(who))[rows]
    of_epoch = np.eye(len(names))[columns]
    full = np.hstack([of_seed, of_epoch[:, 1:]])
    found, _, rank, _ = np.linalg.lstsq(full, y, rcond=None)
    left = float(np.square(y - full @ found).sum())
    df = len(y) - int(rank)
    if df < 1:
        raise StatisticsError(
            f"found {len(y)} runs of {len(who)} seeds and {len(names)} numbers of epochs, expected "
            "more: seeds that were run at several numbers of epochs"
        )
    alone, _, base, _ = np.linalg.lstsq(of_seed, y, rcond=None)
    without = float(np.square(y - of_seed @ alone).sum())
    spread = int(rank) - int(base)
    error = left / df
    p = 1.0
    if spread and error > 0:
        p = float(stats.f.sf((without - left) / spread / error, spread, df))
    elif spread and without > left:
        p = 0.0
    levels = found[: len(who)]
    return Runs(names, who, table - (levels - levels.mean())[:, None], p, error, df)
