"""Where repeated documents stop teaching: from losses of runs of several epochs and seeds.

Three questions, each answered on its own or said not to be answered by the data:

``half_worth``  the epochs from which a token read again is worth less than half of a fresh one, by
    the decay of Muennighoff et al. (arXiv:2305.16264): loss = a - b log D', D' the effective data
    with R* the half-life constant; the n-th repetition is worth exp(-n/R*), so 1 + R* ln 2 epochs.
``least``  the epochs of least loss, by a parabola in log2(epochs).
``knee``  the epochs from which the loss rises, by a line that is level and then rises in
    log2(epochs): what the parabola is checked by.
``worse_from``  the fewest epochs of the study from which on every loss is higher than at the fewest
    epochs: paired one-sided tests over seeds (``compare``), Holm over them. No curve is assumed.

Intervals are bootstraps over seeds, expanded (``resampling``); of four seeds they are rough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixtures.statistics.comparison import compare
from mixtures.statistics.errors import StatisticsError
from mixtures.statistics.hypotheses import as_share
from mixtures.statistics.multiple import holm
from mixtures.statistics.resampling import expanded
from mixtures.statistics.scores import ENOUGH_SEEDS
from mixtures.statistics.turning_data import Runs, as_runs
from mixtures.statistics.turning_fits import (
    Fit,
    Floats,
    Same,
    decay,
    knee,
    log_effective,
    quadratic,
)

DRAWS = 1_999
QUESTIONS = ("half_worth", "least", "knee")
_FEWEST = {"half_worth": 4, "least": 4, "knee": 4}
"""Numbers of epochs that a curve needs: one more than it has coefficients."""
_PLACES = 241
_BAD_FIT = 0.01
"""p of the test for lack of fit below which a curve does not describe the losses."""
_NO_DIFFERENCE = 0.05


@dataclass(frozen=True)
class Estimate:
    """A number of epochs (or a difference of two) with its two-sided interval."""

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Turning:
    """Answers of one tier; None where the data do not give one, and ``notes`` says why.

    ``epochs`` and ``means`` are those of the study, the seeds' levels taken away. ``drawn`` holds
    each answer of every bootstrap drawing, for ``turning_difference``.
    """

    epochs: Floats
    means: Floats
    half_worth: Estimate | None
    least: Estimate | None
    knee: Estimate | None
    worse_from: float | None
    notes: dict[str, str]
    same: Same
    half_life: float | None
    coefficients: dict[str, tuple[float, ...]] = field(repr=False)
    drawn: dict[str, Floats] = field(repr=False)

    @property
    def curve(self) -> str:
        """Which curve ``predict`` draws: ``decay`` where it is known, else ``quadratic``."""
        return "decay" if self.half_life is not None and self.least is None else "quadratic"

    def predict(self, epochs: Any) -> NDArray[np.float64]:
        """The fitted loss at ``epochs`` [...]; of no use beyond the epochs of the study.

        Raises
        ------
        StatisticsError
            If the study has too few numbers of epochs for a curve.
        """
        asked = np.asarray(epochs, np.float64)
        if "quadratic" not in self.coefficients:
            raise StatisticsError(f"no curve was fitted: {self.notes['least']}")
        if self.curve == "decay":
            a, b = self.coefficients["decay"]
            assert self.half_life is not None
            place = np.array([self.half_life])
            shape = log_effective(asked.ravel(), place, self.same)[0].reshape(asked.shape)
            return np.asarray(a + b * shape, np.float64)
        c0, c1, c2 = self.coefficients["quadratic"]
        x = np.log2(asked)
        return np.asarray(c0 + c1 * x + c2 * x * x, np.float64)


def turning(
    epochs: Any,
    losses: Any,
    seeds: Any,
    *,
    same: Same = "tokens",
    level: float = 0.95,
    draws: int = DRAWS,
) -> Turning:
    """Fit one tier: three arrays [runs].

    ``same``: what all runs have in common: ``tokens`` read (so that more epochs are of fewer
    documents), or ``documents`` (so that more epochs are more tokens).

    Raises
    ------
    StatisticsError
        As ``as_runs``. What the data cannot answer is no error: it is None, with a note.
    """
    share = as_share(level, "level")
    if same not in ("tokens", "documents"):
        raise StatisticsError(f"same: found {same!r}, expected tokens or documents")
    runs = as_runs(epochs, losses, seeds)
    means, counts = runs.means(np.vstack([np.ones(len(runs.seeds)), runs.redrawn(draws)]))
    usable = (counts > 0).sum(axis=1) >= min(4, len(runs.epochs))
    means, counts = means[usable], counts[usable]
    notes: dict[str, str] = {}
    worse = _worse_from(runs, notes)
    found: dict[str, Estimate | None] = dict.fromkeys(QUESTIONS)
    coefficients: dict[str, tuple[float, ...]] = {}
    drawn: dict[str, Floats] = {}
    half_life = None
    if len(runs.epochs) < _FEWEST["least"]:
        for name in QUESTIONS:
            notes[name] = (
                f"found {len(runs.epochs)} numbers of epochs, expected {_FEWEST[name]} or more for "
                "a curve"
            )
    else:
        places = _half_lives(runs.epochs)
        fits = {
            "half_worth": decay(runs.epochs, means, counts, same, places),
            "least": quadratic(runs.epochs, means, counts),
            "knee": knee(runs.epochs, means, counts, _between(runs.epochs)),
        }
        coefficients = {
            "decay": tuple(map(float, fits["half_worth"].coefficients[0])),
            "quadratic": tuple(map(float, fits["least"].coefficients[0])),
            "knee": tuple(map(float, fits["knee"].coefficients[0])),
        }
        for name, fit in fits.items():
            why = _unanswered(name, fit, runs, share)
            if why:
                notes[name] = why
                continue
            places_of = 1 + fit.place * math.log(2) if name == "half_worth" else fit.place
            drawn[name] = places_of[1:]
            found[name] = _estimate(places_of, share, len(runs.seeds))
        if found["half_worth"] is not None:
            half_life = float(fits["half_worth"].place[0])
    return Turning(
        epochs=runs.epochs,
        means=means[0],
        half_worth=found["half_worth"],
        least=found["least"],
        knee=found["knee"],
        worse_from=worse,
        notes=notes,
        same=same,
        half_life=half_life,
        coefficients=coefficients,
        drawn=drawn,
    )


def turning_difference(
    one: Turning, other: Turning, what: str, *, level: float = 0.95, seeds: int = ENOUGH_SEEDS
) -> Estimate:
    """By how many epochs ``what`` (one of ``QUESTIONS``) of ``one`` is above that of ``other``.

    Tiers of the same seeds are drawn as pairs. ``seeds``: of the tier that has fewer.

    Raises
    ------
    StatisticsError
        If one of the two has no answer, which it names.
    """
    if what not in QUESTIONS:
        raise StatisticsError(f"what: found {what!r}, expected one of {', '.join(QUESTIONS)}")
    share = as_share(level, "level")
    for place, tier in (("first", one), ("second", other)):
        if what not in tier.drawn:
            raise StatisticsError(f"{what} of the {place} tier is not known: {tier.notes[what]}")
    count = min(len(one.drawn[what]), len(other.drawn[what]))
    apart = one.drawn[what][:count] - other.drawn[what][:count]
    first, second = getattr(one, what), getattr(other, what)
    low, high = expanded(apart, share, seeds)
    return Estimate(first.value - second.value, low, high, share)


def _half_lives(epochs: Floats) -> Floats:
    """Where R* is looked for: repetitions far fewer and far more than the study's cannot be told
    from none and from free ones."""
    repeats = epochs[epochs > 1] - 1
    return np.geomspace(repeats.min() / 8, repeats.max() * 16, _PLACES)


def _between(epochs: Floats) -> Floats:
    return np.geomspace(epochs[0], epochs[-1], _PLACES)[:-1]


def _estimate(values: Floats, level: float, seeds: int) -> Estimate:
    low, high = expanded(values[1:], level, seeds)
    value = float(values[0])
    return Estimate(value, min(low, value), max(high, value), level)


def _unanswered(name: str, fit: Fit, runs: Runs, level: float) -> str:
    """Why the data do not answer, or nothing."""
    if runs.p_epochs >= _NO_DIFFERENCE:
        return (
            "the losses do not differ by epochs more than by chance "
            f"(F test, p = {runs.p_epochs:.2g}); run more seeds or more epochs"
        )
    bad = _lack_of_fit(fit, runs)
    if bad < _BAD_FIT:
        return f"the curve does not describe the losses (test for lack of fit, p = {bad:.2g})"
    first, last = f"{runs.epochs[0]:g}", f"{runs.epochs[-1]:g}"
    edges = {
        "half_worth": (
            "repeated tokens are worth next to nothing as far as these epochs tell",
            f"up to {last} epochs repeated tokens are worth as much as fresh ones, as far as these "
            "runs tell",
        ),
        "least": (
            f"the loss is least at {first} epochs, the fewest of the study",
            f"the loss is least at {last} epochs, the most of the study",
        ),
        "knee": (
            f"the loss rises from {first} epochs on, the fewest of the study",
            f"the loss does not rise up to {last} epochs",
        ),
    }[name]
    if fit.coefficients[0, 1] == 0 and name != "least":
        return edges[1]
    if fit.low_edge[0]:
        return edges[0]
    if fit.high_edge[0]:
        return edges[1]
    tail = (1 - level) / 2
    low, high = fit.low_edge[1:].mean(), fit.high_edge[1:].mean()
    if (low > tail and high > tail) or (name == "half_worth" and max(low, high) > tail):
        return (
            f"drawn again, {low + high:.0%} of the sets of seeds put it outside of what the study "
            f"has ({first} to {last} epochs); run more seeds or more epochs"
        )
    return ""


def _lack_of_fit(fit: Fit, runs: Runs) -> float:
    """p of the F test of what the curve leaves of the means against what seeds leave."""
    df = len(runs.epochs) - (2 + 1)
    # Roundings of losses that a curve meets exactly are no lack of fit.
    scale = float(np.nanmax(np.abs(runs.losses))) ** 2 * 1e-18
    return float(stats.f.sf(fit.left[0] / df / max(runs.error, scale), df, runs.error_df))


def _worse_from(runs: Runs, notes: dict[str, str]) -> float | None:
    whole = runs.losses[np.isfinite(runs.losses).all(axis=1)]
    if len(whole) < ENOUGH_SEEDS or len(runs.epochs) < 2:
        notes["worse_from"] = (
            f"found {len(whole)} seeds that were run at all {len(runs.epochs)} numbers of epochs, "
            f"expected {ENOUGH_SEEDS} or more seeds and 2 or more numbers"
        )
        return None
    columns = range(1, len(runs.epochs))
    raised = [_raised(whole[:, k], whole[:, 0]) for k in columns]
    seen = np.asarray(holm(raised)) < _NO_DIFFERENCE
    if not seen[-1]:
        notes["worse_from"] = (
            f"the loss at {runs.epochs[-1]:g} epochs is not shown to be above that at "
            f"{runs.epochs[0]:g}"
        )
        return None
    still = len(seen) - int(np.argmin(seen[::-1])) if not seen.all() else 0
    return float(runs.epochs[1 + still])


def _raised(losses: Floats, base: Floats) -> float:
    difference = losses - base
    if np.ptp(difference) <= 1e-13 * np.abs(losses).max():
        return 0.0 if difference[0] > 0 else 1.0
    return compare(losses, base, alternative="greater").p
