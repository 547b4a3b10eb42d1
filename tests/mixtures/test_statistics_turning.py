"""Where losses turn under repetition: invented runs whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from mixtures.statistics import StatisticsError, Turning, turning, turning_difference
from mixtures.statistics.turning_fits import Same, log_effective

Floats = NDArray[np.float64]
EPOCHS = (1, 2, 4, 8, 16, 32)


def runs(
    loss: Floats, seeds: int = 6, noise: float = 0.003, seed: int = 1, level: float = 0.05
) -> tuple[Floats, Floats, Floats]:
    """Losses at ``EPOCHS`` of so many seeds, each with a level of its own."""
    rng = np.random.default_rng(seed)
    levels = np.random.default_rng(99).normal(0, level, seeds)
    e, s = np.tile(np.array(EPOCHS, np.float64), seeds), np.repeat(np.arange(seeds), len(EPOCHS))
    y = np.tile(loss, seeds) + levels[s] + rng.normal(0, noise, len(e))
    return e, y, s.astype(np.float64)


def repeated(half_life: float, slope: float = 0.3, same: Same = "tokens") -> Floats:
    """Losses by the decay of the value of repeated tokens."""
    shape = log_effective(np.array(EPOCHS, np.float64), np.array([half_life]), same)[0]
    return np.asarray(3 - slope * shape, np.float64)


def test_effective_data_are_those_of_the_paper() -> None:
    """U = 10 tokens, read 5 times, R* = 15.4: its equation 5 in numbers."""
    worth = 10 + 10 * 15.387756 * (1 - math.exp(-4 / 15.387756))
    found = log_effective(np.array([5.0]), np.array([15.387756]), "documents")[0, 0]
    assert found == pytest.approx(math.log(worth / 10))
    found = log_effective(np.array([5.0]), np.array([15.387756]), "tokens")[0, 0]
    assert found == pytest.approx(math.log(worth / 50))


@pytest.mark.parametrize("same", ["tokens", "documents"])
@pytest.mark.parametrize("half_life", [2.0, 6.0, 15.0])
def test_the_worth_of_repeated_tokens(same: Same, half_life: float) -> None:
    data = runs(repeated(half_life, same=same))
    found = turning(*data, same=same)
    assert found.half_worth is not None, found.notes
    truth = 1 + half_life * math.log(2)
    assert found.half_worth.low < truth < found.half_worth.high
    assert found.half_worth.value == pytest.approx(truth, rel=0.15)
    assert found.half_life is not None
    assert found.half_worth.value == pytest.approx(1 + found.half_life * math.log(2))
    fitted = found.predict(EPOCHS)
    assert fitted - fitted[0] == pytest.approx(
        repeated(half_life, same=same) - repeated(half_life, same=same)[0], abs=0.01
    )


def test_the_fit_is_the_least_squares_of_scipy() -> None:
    e, y, s = runs(repeated(5.0), level=0)

    def model(epochs: Floats, a: float, b: float, log_life: float) -> Floats:
        shape = log_effective(epochs, np.exp([log_life]), "tokens")[0]
        return np.asarray(a - b * shape, np.float64)

    judge, _ = optimize.curve_fit(model, e, y, p0=(3, 0.2, 1))
    found = turning(e, y, s)
    assert found.half_life == pytest.approx(math.exp(judge[2]), rel=0.02)


def test_the_epochs_of_least_loss() -> None:
    x = np.log2(EPOCHS)
    found = turning(*runs(2 + 0.02 * (x - 2) ** 2))
    assert found.least is not None
    assert found.least.low < 4 < found.least.high
    assert found.least.value == pytest.approx(4, rel=0.1)
    assert "does not describe the losses" in found.notes["half_worth"]
    assert found.predict(4.0) == pytest.approx(found.means[2], abs=0.01)
    assert found.worse_from == 32, "16 epochs are as good as 1, and 32 are not"


def test_level_and_then_rising() -> None:
    x = np.log2(EPOCHS)
    found = turning(*runs(2 + 0.1 * np.maximum(0, x - math.log2(3))))
    assert found.knee is not None
    assert found.knee.low < 3 < found.knee.high
    assert found.knee.value == pytest.approx(3, rel=0.15)
    assert found.worse_from == 4


def test_intervals_hold_the_truth() -> None:
    held = 0
    for k in range(60):
        found = turning(*runs(repeated(6.0), seeds=5, seed=k), draws=499)
        assert found.half_worth is not None
        held += found.half_worth.low < 1 + 6 * math.log(2) < found.half_worth.high
    assert held >= 52


def test_nothing_is_said_where_the_data_say_nothing() -> None:
    flat = turning(*runs(np.full(6, 2.0), noise=0.05))
    assert (flat.half_worth, flat.least, flat.knee, flat.worse_from) == (None,) * 4
    assert all("more than by chance" in flat.notes[q] for q in ("half_worth", "least", "knee"))
    assert "is not shown to be above" in flat.notes["worse_from"]
    rising = turning(*runs(2 + 0.1 * np.log2(EPOCHS)))
    assert rising.least is None
    assert "least at 1 epochs, the fewest" in rising.notes["least"]
    assert rising.worse_from == 2
    falling = turning(*runs(2 - 0.1 * np.log2(EPOCHS)))
    assert falling.half_worth is None
    assert "most of the study" in falling.notes["least"]
    assert falling.worse_from is None
    noisy = turning(*runs(repeated(12.0, slope=0.05), noise=0.02))
    assert noisy.half_worth is None
    assert noisy.notes["half_worth"]


def test_two_tiers() -> None:
    low, high = turning(*runs(repeated(2.0))), turning(*runs(repeated(9.0), seed=2))
    found = turning_difference(high, low, "half_worth", seeds=6)
    assert found.low < 7 * math.log(2) < found.high
    assert found.low > 0
    flat: Turning = turning(*runs(np.full(6, 2.0), noise=0.05))
    with pytest.raises(StatisticsError, match="half_worth of the second tier is not known: the l"):
        turning_difference(high, flat, "half_worth")
    with pytest.raises(StatisticsError, match="what: found 'most'"):
        turning_difference(high, low, "most")


def test_seeds_that_lack_epochs() -> None:
    e, y, s = runs(repeated(5.0), seeds=8)
    keep = ~((s == 3) & (e > 4)) & ~((s == 5) & (e == 1))
    found = turning(e[keep], y[keep], s[keep])
    assert found.half_worth is not None
    assert found.half_worth.value == pytest.approx(1 + 5 * math.log(2), rel=0.2)
    few = turning(e[e < 8], y[e < 8], s[e < 8])
    assert few.half_worth is None
    assert "found 3 numbers of epochs, expected 4" in few.notes["half_worth"]
    with pytest.raises(StatisticsError, match="no curve was fitted"):
        few.predict(2)


def test_what_is_refused() -> None:
    e, y, s = runs(repeated(5.0))
    with pytest.raises(StatisticsError, match=r"losses\[7\] \(seed 1, 2 epochs\): found nan"):
        turning(e, np.where(np.arange(len(y)) == 7, np.nan, y), s)
    with pytest.raises(StatisticsError, match=r"epochs\[0\]: found 0"):
        turning(e - 1, y, s)
    with pytest.raises(StatisticsError, match=r"found 36 epochs, 35 losses"):
        turning(e, y[:-1], s)
    with pytest.raises(StatisticsError, match=r"two runs of seed 0 and 1 epochs"):
        turning([*e, 1.0], [*y, 2.0], [*s, 0])
    with pytest.raises(StatisticsError, match="runs of one seed"):
        turning(e[:6], y[:6], s[:6])
    with pytest.raises(StatisticsError, match="same: found 'bytes'"):
        turning(e, y, s, same="bytes")  # type: ignore[arg-type]
