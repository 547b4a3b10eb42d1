"""Tests of studies' statistics against SciPy and statsmodels, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from mixtures.statistics import (
    Components,
    StatisticsError,
    benjamini_hochberg,
    bootstrap,
    compare,
    detectable,
    detectable_grid,
    discriminative_power,
    dunnett,
    equivalence,
    holm,
    items_only,
    needed,
    power,
)
from mixtures.statistics.effects import estimate

Floats = NDArray[np.float64]
ALTERNATIVES = ("greater", "less", "two-sided")


def crossed(
    rng: np.random.Generator,
    runs: int,
    items: int,
    effect: float = 0.0,
    *,
    draws: tuple[int, ...] = (),
    run: float = 0.3,
    item: float = 0.5,
    residual: float = 1.0,
) -> Floats:
    """Differences of pairs, [*draws, runs, items], with the given standard deviations."""
    return (
        effect
        + run * rng.normal(size=(*draws, runs, 1))
        + item * rng.normal(size=(*draws, 1, items))
        + residual * rng.normal(size=(*draws, runs, items))
    )


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_one_value_a_run_is_the_t_test(alternative: str) -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(0.4, 1, 6), rng.normal(0, 1, 6)
    pairs = compare(one, other, alternative=alternative)
    judge = stats.ttest_rel(one, other, alternative=alternative)
    assert (pairs.t, pairs.p, pairs.df) == pytest.approx((judge.statistic, judge.pvalue, 5))
    both = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (pairs.low, pairs.high) == pytest.approx((both.low, both.high))
    welch = compare(one, other[:4], alternative=alternative, paired=False)
    judge = stats.ttest_ind(one, other[:4], equal_var=False, alternative=alternative)
    assert (welch.t, welch.p, welch.df) == pytest.approx((judge.statistic, judge.pvalue, judge.df))


def test_items_that_differ_by_nothing_of_their_own_leave_the_t_test_of_means() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(20):
        one, other = crossed(rng, 5, 40, item=0), np.zeros((5, 40))
        pair = compare(one, other, alternative="greater")
        judge = stats.ttest_rel(one.mean(axis=1), other.mean(axis=1), alternative="greater")
        assert pair.components is not None
        if pair.components.item == 0:
            assert pair.p == pytest.approx(judge.pvalue)
            found.append(pair.p)
        else:
            assert pair.se > abs(pair.effect / judge.statistic)
    assert 5 < len(found) < 20


def test_components_are_those_of_restricted_maximum_likelihood() -> None:
    """Of balanced scores with no component at 0, REML's are those of the mean squares."""
    rng = np.random.default_rng(5)
    runs, items = 6, 25
    difference = crossed(rng, runs, items, 0.2, run=0.6, item=0.7)
    frame = pd.DataFrame(
        {
            "y": difference.ravel(),
            "run": np.repeat(np.arange(runs), items),
            "item": np.tile(np.arange(items), runs),
            "all": 1,
        }
    )
    parts = {"run": "0 + C(run)", "item": "0 + C(item)"}
    judge = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula=parts).fit(reml=True)
    found = compare(difference, np.zeros_like(difference))
    assert found.components is not None
    of_judge = dict(zip(judge.model.exog_vc.names, judge.vcomp, strict=True))
    assert found.components.run == pytest.approx(of_judge["run"], rel=2e-3)
    assert found.components.item == pytest.approx(of_judge["item"], rel=2e-3)
    assert found.components.residual == pytest.approx(judge.scale, rel=2e-3)
    assert found.effect == pytest.approx(judge.params["Intercept"])
    assert found.se == pytest.approx(judge.bse["Intercept"], rel=2e-3)


def test_stacks_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(7)
    one, other = crossed(rng, 5, 12, draws=(30,)), crossed(rng, 4, 12, draws=(30,))
    stacked = estimate(one, other)
    for k in range(30):
        found = compare(one[k], other[k], paired=False)
        assert found.components is not None
        assert (found.effect, found.se**2, found.df, found.components.item) == pytest.approx(
            (stacked.effect[k], stacked.variance[k], stacked.df[k], stacked.item[k])
        )


def test_checkpoints_are_labelled_and_say_nothing_of_seeds() -> None:
    rng = np.random.default_rng(9)
    one, other = rng.normal(0.1, 1, (1, 200)), rng.normal(0, 1, (1, 200))
    found = items_only(one, other, alternative="greater")
    judge = stats.ttest_rel(one[0], other[0], alternative="greater")
    assert found.p == pytest.approx(judge.pvalue)
    assert found.label == "these checkpoints"
    assert found.components is None
    with pytest.raises(StatisticsError, match="found 1 item"):
        items_only([[1.0]], [[2.0]])


def test_what_is_refused() -> None:
    good = np.arange(8.0).reshape(4, 2)
    bad = good.copy()
    bad[2, 1] = math.nan
    with pytest.raises(StatisticsError, match=r"treatment: found nan at run 2, item 1"):
        compare(bad, good)
    with pytest.raises(StatisticsError, match=r"found 2 items .* and 1 in"):
        compare(good, good[:, :1])
    with pytest.raises(StatisticsError, match=r"found 4 runs .* and 3 in"):
        compare(good, good[:3])
    with pytest.raises(StatisticsError, match=r"found 3 runs in an arm, expected at least 4"):
        compare(good[:3], good[1:])
    with pytest.raises(StatisticsError, match=r"found 1 run in an arm, expected at least 2"):
        compare(good[:1], good[:1], few_seeds=True)
    with pytest.raises(StatisticsError, match=r"alternative: found 'more'"):
        compare(good, good, alternative="more")
    with pytest.raises(StatisticsError, match=r"level: found 95"):
        compare(good, good, level=95)
    with pytest.raises(StatisticsError, match=r"rows of different lengths"):
        compare([[1.0], [1.0, 2.0]], good)
    with pytest.raises(StatisticsError, match=r"the same difference .* copies of one run"):
        compare(good + 0.25, good)


def test_few_seeds_are_labelled() -> None:
    rng = np.random.default_rng(11)
    one, other = rng.normal(size=(2, 3, 20))
    assert compare(one, other, few_seeds=True).label == "few seeds"
    four = rng.normal(size=(2, 4, 20))
    assert compare(*four, few_seeds=True).label == "runs"


def test_an_arm_is_equal_to_itself() -> None:
    scores = np.random.default_rng(13).normal(size=(4, 10))
    found = compare(scores, scores.copy())
    assert (found.effect, found.p, found.low, found.high) == (0, 1, 0, 0)
    assert equivalence(found, 0.1).equivalent


def test_many_tests() -> None:
    p = [0.011, 0.2, 0.001, 0.04, 0.04, 0.9]
    for method, adjust in (("holm", holm), ("fdr_bh", benjamini_hochberg)):
        assert adjust(p) == pytest.approx(multipletests(p, method=method)[1])
    assert len(holm([])) == 0
    with pytest.raises(StatisticsError, match=r"p\[1\]: found nan"):
        holm([0.1, math.nan])


def test_many_arms_against_one() -> None:
    rng = np.random.default_rng(15)
    base = rng.normal(0, 1, 8)
    arms = {"same": rng.normal(0, 1, 8), "better": rng.normal(2.5, 1, 8)}
    found = dunnett(arms, base, alternative="greater")
    assert found == dunnett(arms, base, alternative="greater")
    judge = stats.ttest_ind(arms["same"], base, alternative="greater").pvalue
    alone = dunnett({"same": arms["same"]}, base, alternative="greater")["same"]
    assert alone == pytest.approx(judge, abs=1e-4), "of one arm it is the t test"
    twice = dunnett({"same": arms["same"], "again": arms["same"]}, base, alternative="greater")
    assert judge < twice["same"] < 2 * judge
    assert found["better"] < 0.01 < found["same"]
    with pytest.raises(StatisticsError, match="found 3 runs"):
        dunnett({"same": arms["same"][:3]}, base)


def test_power_is_that_of_the_t_test() -> None:
    pair, two = Components(0.5, groups=1, items=1), Components(1.0, groups=2, items=1)
    for effect in (0.2, 0.8, 1.5):
        for seeds in (4, 6, 20):
            size = effect / math.sqrt(0.5)
            judge = TTestPower().power(size, seeds, 0.05, alternative="larger")
            assert power(effect, pair, seeds, 1) == pytest.approx(judge, abs=2e-4)
            judge = TTestIndPower().power(size, seeds, 0.05, alternative="two-sided")
            found = power(effect, two, seeds, 1, alternative="two-sided")
            assert judge - 0.06 < found < judge, "Welch's has fewer degrees of freedom"


def test_the_detectable_effect_has_its_power_and_its_seeds() -> None:
    parts = Components(0.02, 0.3, 1.0, groups=2, items=400)
    for alternative in ALTERNATIVES:
        mde = detectable(parts, 6, 500, alternative=alternative)
        sign = -1 if alternative == "less" else 1
        found = power(sign * mde, parts, 6, 500, alternative=alternative)
        assert found == pytest.approx(0.8, abs=1e-6)
    grid = detectable_grid(parts, (4, 8, 16), (50, 200, 800, 3200))
    assert (np.diff(grid, axis=0) < 0).all()
    assert (np.diff(grid, axis=1) < 0).all()
    counts = needed(0.15, parts, (50, 800, 3200))
    assert counts[0] is None, "items leave too much variance, whatever the seeds"
    for items, seeds in zip((800, 3200), counts[1:], strict=True):
        assert seeds is not None
        assert detectable(parts, seeds, items) <= 0.15 < detectable(parts, seeds - 1, items)
    pairs = Components(0.02, groups=1, items=1)
    normal = (1.645 + 0.842) * math.sqrt(pairs.of_design(4, 1))
    assert detectable(pairs, 4, 1) > 1.3 * normal, "which would promise too much"
    with pytest.raises(StatisticsError, match=r"items: found 50, expected 1"):
        detectable(Components(1.0, items=1), 4, 50)
    with pytest.raises(StatisticsError, match=r"mde: found 0"):
        needed(0, parts, (100,))


def test_the_bootstrap_is_the_same_every_time_and_near_the_t_interval() -> None:
    rng = np.random.default_rng(17)
    one, other = crossed(rng, 12, 150, 0.2), crossed(rng, 12, 150)
    for paired in (True, False):
        found = bootstrap(one, other, paired=paired)
        assert found == bootstrap(one.copy(), other.copy(), paired=paired)
        assert found.low < found.effect < found.high
        judge = compare(one, other, paired=paired)
        width = (found.high - found.low) / (judge.high - judge.low)
        assert 0.8 < width < 1.4
    assert bootstrap(one, other + 1e-9) != bootstrap(one, other)
    single = bootstrap(one[:, :1], other[:, :1])
    assert single.low < single.effect < single.high


def test_the_bootstrap_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(19)
    held = {(8, 40): 0, (4, 40): 0, (4, 1): 0}
    for runs, items in held:
        for _ in range(300):
            scores = crossed(rng, runs, items, 0.3, item=0.5 if items > 1 else 0)
            found = bootstrap(scores, np.zeros_like(scores), draws=999)
            held[runs, items] += found.low < 0.3 < found.high
    assert held[8, 40] / 300 > 0.93
    assert held[4, 40] / 300 > 0.93
    assert 0.8 < held[4, 1] / 300 < 0.92, "of four single values it is too narrow, as it says"


def test_discriminative_power() -> None:
    far = discriminative_power(0.5, 0.05, 9)
    assert far.tells
    assert far.low == pytest.approx(10 * math.sqrt(stats.chi2.ppf(0.025, 9) / 9))
    near = discriminative_power(0.12, 0.05, 9)
    assert near.ratio == pytest.approx(2.4)
    assert not near.tells
    wider = discriminative_power(0.5, 0.05, 9, runs=(4, 4))
    assert wider.low < far.low < far.high < wider.high
    # 2 is the ratio that four seeds an arm just see at 95 % and 80 %.
    assert detectable(Components(2.0, items=1), 4, 1) == pytest.approx(2, rel=0.05)
    with pytest.raises(StatisticsError, match="copies of one run"):
        discriminative_power(0.5, 0.0, 9)


def test_the_interval_of_the_ratio_holds_the_truth() -> None:
    rng = np.random.default_rng(21)
    one, other = rng.normal(3, 1, (600, 5)), rng.normal(0, 1, (600, 5))
    held = 0
    for a, b in zip(one, other, strict=True):
        sigma = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
        found = discriminative_power(abs(a.mean() - b.mean()), sigma, 8, runs=(5, 5))
        held += found.low <= 3 <= found.high
    assert 0.93 < held / 600 < 0.97


def test_equivalence_is_two_one_sided_tests() -> None:
    rng = np.random.default_rng(23)
    one, other = rng.normal(0, 0.1, (2, 10))
    found = compare(one, other)
    judge: Any = stats.ttest_rel
    lower = judge(one + 0.2, other, alternative="greater").pvalue
    upper = judge(one - 0.2, other, alternative="less").pvalue
    both = equivalence(found, 0.2)
    assert (both.p_not_less, both.p_not_greater) == pytest.approx((lower, upper))
    assert both.p == max(both.p_not_less, both.p_not_greater)
    assert both.equivalent == (both.p < 0.05)
    assert both.not_less
    worse = compare(one - 1, other)
    assert not equivalence(worse, 0.2).not_less
    assert equivalence(worse, 0.2).not_greater
    assert not equivalence(worse, 0.2).equivalent
    with pytest.raises(StatisticsError, match="margin: found -1"):
        equivalence(found, -1)
