"""Analyses of invented studies, whose effects are known, through the real statistics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from mixtures.studies.analysis import analyse
from mixtures.studies.analysis.outcome import Analysis, Comparison, MetricAnalysis
from mixtures.studies.analysis.reading import read_study
from mixtures.studies.errors import StudyError
from tests.mixtures import invented_studies as invented

Rows = list[dict[str, Any]]


def analysed(tmp_path: Path, content: dict[str, Any], rows: Rows) -> Analysis:
    return analyse(read_study(invented.write(tmp_path / "study", content, rows)))


def noise(**changes: Any) -> tuple[dict[str, Any], Rows]:
    content = invented.study(invented.NOISE_ARMS, **changes)
    return content, invented.results(content, invented.NOISE_EFFECTS)


def by_name(analysis: Analysis) -> dict[str, MetricAnalysis]:
    return {metric.name: metric for metric in analysis.metrics}


def by_arm(metric: MetricAnalysis) -> dict[str, Comparison]:
    return {comparison.arm: comparison for comparison in metric.comparisons}


def test_the_effects_that_were_put_in_are_found(tmp_path: Path) -> None:
    analysis = analysed(tmp_path, *noise())
    metrics = by_name(analysis)
    assert analysis.metrics[0].name == "bits_per_byte"
    for name, sign in (("bits_per_byte", 1), ("items/generated", -1)):
        arms = by_arm(metrics[name])
        assert list(arms) == ["noise10", "noise30"], "the null arm is a check, not a question"
        for arm, effect in invented.NOISE_EFFECTS.items():
            c = arms[arm]
            assert c.verdict == "worse"
            assert c.paired
            assert (c.runs, c.family) == ((6, 6), 2 if name == "bits_per_byte" else c.family)
            assert c.low is not None
            assert c.high is not None
            assert c.low < sign * effect < c.high
            assert c.p is not None
            assert c.p_adjusted is not None
            assert c.p <= c.p_adjusted < 0.05
            assert c.alternative == ("greater" if sign > 0 else "less"), "noise is expected worse"
    assert metrics["items/generated"].items == invented.ITEMS
    assert analysis.complete
    assert analysis.warnings == ()
    assert "noise30 is worse than clean by 0.1" in analysis.decision
    assert "the null arm null shows no difference" in analysis.decision


def test_effects_and_holm_are_those_of_scipy(tmp_path: Path) -> None:
    from scipy import stats

    content, rows = noise()
    analysis = analysed(tmp_path, content, rows)
    bits = {(row["arm"], row["seed"]): row["metrics"]["bits_per_byte"]["all"] for row in rows}
    ps = []
    for arm in ("noise10", "noise30"):
        test = stats.ttest_rel(
            [bits[arm, s] for s in range(6)],
            [bits["clean", s] for s in range(6)],
            alternative="greater",
        )
        c = by_arm(analysis.metrics[0])[arm]
        assert c.p == pytest.approx(test.pvalue, rel=1e-9)
        ps.append(test.pvalue)
    low, high = sorted(ps)
    adjusted = sorted(c.p_adjusted or 1 for c in analysis.metrics[0].comparisons)
    assert adjusted == pytest.approx([min(1, 2 * low), min(1, max(2 * low, high))], rel=1e-9)


def test_a_better_arm_is_recommended_with_its_numbers(tmp_path: Path) -> None:
    content = invented.study({"clean": {}, "deduplicated": {}, "same": {}})
    rows = invented.results(content, {"deduplicated": -0.08})
    analysis = analysed(tmp_path, content, rows)
    arms = by_arm(analysis.metrics[0])
    assert (arms["deduplicated"].verdict, arms["same"].verdict) == ("better", "not shown")
    assert analysis.decision.startswith("By bits_per_byte, deduplicated is better than clean by 0.")
    assert "after Holm over 2 tests" in analysis.decision
    assert "same is not shown to differ from clean, where the study would have found" in (
        analysis.decision
    )
    [note] = {metric.discrimination_note for metric in analysis.metrics}
    assert "no obvious pair" in note


def test_what_is_not_seen_says_what_could_have_been(tmp_path: Path) -> None:
    content = invented.study({"clean": {}, "other": {}})
    analysis = analysed(tmp_path, content, invented.results(content, {}))
    [c] = analysis.metrics[0].comparisons
    assert c.verdict == "not shown"
    assert c.mde is not None
    assert 0.005 < c.mde < 0.05
    assert "other is not shown to be better than clean, where the study would have found" in (
        analysis.decision
    )
    assert "80 % of the time" in analysis.decision


def test_lost_runs_are_said_first_and_the_rest_is_tested(tmp_path: Path) -> None:
    content, rows = noise()
    rows = invented.lose(rows, "noise10", [4], "diverged", "loss is NaN at step 90")
    analysis = analysed(tmp_path, content, rows)
    assert not analysis.complete
    assert analysis.warnings[0] == (
        "1 run of 24 is diverged: noise10 seed 4 (loss is NaN at step 90)."
    )
    c = by_arm(analysis.metrics[0])["noise10"]
    assert (c.paired, c.runs) == (True, (5, 5))
    assert "1 seed (4) finished in one of the two arms only" in c.note
    assert any(c.note in warning for warning in analysis.warnings)


def test_an_arm_with_too_few_runs_is_not_tested_and_said(tmp_path: Path) -> None:
    content, rows = noise()
    rows = [row for row in rows if row["arm"] != "noise30" or row["seed"] < 2]
    rows = invented.lose(rows, "noise30", [1], "killed", "killed twice")
    analysis = analysed(tmp_path, content, rows)
    text = "\n".join(analysis.warnings)
    assert "1 run of 24 is killed: noise30 seed 1 (killed twice)." in text
    assert "4 runs of 24 are missing: noise30 seed 2" in text
    assert "noise30 is not tested by bits_per_byte: 1 run of 6 of noise30 finished" in text
    c = by_arm(analysis.metrics[0])["noise30"]
    assert (c.verdict, c.effect, c.p) == ("not tested", None, None)
    assert by_arm(analysis.metrics[0])["noise10"].family == 1
    items = by_arm(by_name(analysis)["items/generated"])["noise30"]
    assert (items.verdict, items.p) == ("not tested", None)
    assert "; these checkpoints differ by \N{MINUS SIGN}0.1" in items.note


def test_seeds_lost_on_both_sides_are_compared_without_pairs(tmp_path: Path) -> None:
    content, rows = noise()
    rows = invented.lose(rows, "clean", [0, 1], "failed", "out of memory")
    rows = invented.lose(rows, "noise30", [4, 5], "failed", "out of memory")
    analysis = analysed(tmp_path, content, rows)
    c = by_arm(analysis.metrics[0])["noise30"]
    assert (c.paired, c.runs, c.verdict) == (False, (4, 4), "worse")
    assert "only 2 seeds finished in both arms, compared without pairs" in c.note


def test_without_a_baseline_nothing_is_said(tmp_path: Path) -> None:
    content, rows = noise()
    rows = invented.lose(rows, "clean", range(6), "failed", "disk full")
    analysis = analysed(tmp_path, content, rows)
    assert analysis.decision.startswith("Nothing can be said by bits_per_byte")
    assert "0 runs of 6 of clean finished" in analysis.decision
    nothing = analysed(tmp_path / "none", content, [])
    assert nothing.decision.startswith("Nothing can be said")
    assert nothing.warnings[0].startswith("24 runs of 24 are missing")


def test_few_seeds_are_refused_unless_asked_for_and_then_labelled(tmp_path: Path) -> None:
    content, rows = noise(seeds=[0, 1, 2])
    refused = analysed(tmp_path / "a", content, rows)
    assert by_arm(refused.metrics[0])["noise30"].verdict == "not tested"
    allowed = analysed(tmp_path / "b", {**content, "few_seeds": True}, rows)
    c = by_arm(allowed.metrics[0])["noise30"]
    assert c.p is not None
    assert "few seeds" in c.note
    assert any("fewer than 4 seeds" in warning for warning in allowed.warnings)


def test_an_arm_twice_is_said_and_differs_in_nothing(tmp_path: Path) -> None:
    content = invented.study({"clean": {}, "again": {"same_as": "clean"}, "better": {}})
    rows = invented.results(content, {"better": -0.08})
    clean = {row["seed"]: row for row in rows if row["arm"] == "clean"}
    rows = [{**clean[r["seed"]], "arm": "again"} if r["arm"] == "again" else r for r in rows]
    analysis = analysed(tmp_path, content, rows)
    c = by_arm(analysis.metrics[0])["again"]
    assert (c.effect, c.p, c.verdict) == (0, 1, "not shown")
    assert "again asks for the runs of clean: they are one arm, computed once." in analysis.warnings
    assert by_arm(analysis.metrics[0])["better"].verdict == "better"


def test_a_null_arm_that_differs_takes_the_decision_away(tmp_path: Path) -> None:
    content, _ = noise()
    rows = invented.results(content, {**invented.NOISE_EFFECTS, "null": 0.12})
    analysis = analysed(tmp_path, content, rows)
    [null] = analysis.metrics[0].nulls
    assert null.passed is False
    assert not null.comparison.paired, "other seeds"
    assert analysis.decision.startswith("This study decides nothing: by bits_per_byte the null arm")
    assert any("null arm null does not pass" in warning for warning in analysis.warnings)


def test_the_order_of_doses(tmp_path: Path) -> None:
    content, rows = noise()
    order = analysed(tmp_path / "a", content, rows).metrics[0].ordering
    assert order is not None
    assert order.arms == ("clean", "noise10", "noise30")
    assert order.doses == (0, 10, 30)
    assert order.monotone
    assert [step.verdict for step in order.steps] == ["worse", "worse"]
    rows = invented.results(content, {"noise10": 0.15, "noise30": 0.05})
    turned = analysed(tmp_path / "b", content, rows).metrics[0].ordering
    assert turned is not None
    assert not turned.monotone
    assert "not in order" in turned.text


def test_a_metric_that_is_blind_is_said_to_be(tmp_path: Path) -> None:
    content, _ = noise()
    rows = invented.results(content, {}, sigma_pair=0.03)
    analysis = analysed(tmp_path, content, rows)
    d = analysis.metrics[0].discrimination
    assert d is not None
    assert not d.tells
    assert (d.obvious, d.against) == ("noise30", "clean")
    assert any(w.startswith("Cannot tell good from bad here: ") for w in analysis.warnings)
    assert analysis.decision.startswith("This study decides nothing: bits_per_byte cannot tell")
    sighted = analysed(tmp_path / "b", *noise()).metrics[0].discrimination
    assert sighted is not None
    assert sighted.tells
    assert sighted.low < sighted.ratio < sighted.high


def test_a_metric_that_takes_noise_for_better_is_said_to(tmp_path: Path) -> None:
    content, _ = noise()
    rows = invented.results(content, {"noise10": -0.1, "noise30": -0.3})
    analysis = analysed(tmp_path, content, rows)
    d = analysis.metrics[0].discrimination
    assert d is not None
    assert (d.tells, d.reversed, d.text) == (False, True, "takes noise30 for the better one")
    [warning] = [w for w in analysis.warnings if w.startswith("Against what is known: ")]
    assert "bits_per_byte takes noise30 for the better one (Δ/σ = " in warning
    assert not any("bits_per_byte" in w for w in analysis.warnings if w.startswith("Cannot tell"))


def test_pairs_of_seeds_may_tell_what_single_runs_do_not(tmp_path: Path) -> None:
    content, _ = noise()
    rows = invented.results(content, invented.NOISE_EFFECTS, sigma_seed=0.3, sigma_pair=0.01)
    analysis = analysed(tmp_path, content, rows)
    d = analysis.metrics[0].discrimination
    assert d is not None
    assert (d.tells, d.by_pairs, d.reversed) == (False, True, False)
    assert any(w.startswith("Pairs of seeds tell good from bad here") for w in analysis.warnings)
    assert not any("bits_per_byte" in w for w in analysis.warnings if w.startswith("Cannot tell"))
    assert "noise30 is worse than clean" in analysis.decision


def test_what_is_per_token_is_refused_between_tokenizers(tmp_path: Path) -> None:
    content, _ = noise()
    hashes = {"noise10": "aaaa", "noise30": "aaaa"}
    rows = invented.results(content, invented.NOISE_EFFECTS, tokenizers=hashes)
    for row in rows:
        row["metrics"]["loss"] = {"all": row["final_loss"]}
    analysis = analysed(tmp_path, content, rows)
    [(name, why)] = analysis.refused
    assert (name, "2 tokenizers" in why) == ("loss", True)
    assert "loss" not in by_name(analysis)
    assert by_arm(analysis.metrics[0])["noise30"].verdict == "worse"
    assert any("2 tokenizers" in warning for warning in analysis.warnings)
    wrong = {**content, "metrics": {"primary": "loss"}}
    decided = analysed(tmp_path / "b", wrong, rows)
    assert decided.primary == "bits_per_byte"
    assert decided.decision.startswith("By bits_per_byte, noise30 is worse")
    assert any("decides in the place of loss" in warning for warning in decided.warnings)


@pytest.mark.parametrize("value", ["NaN", "null", "Infinity"])
def test_a_result_that_is_no_number_is_refused_with_its_place(tmp_path: Path, value: str) -> None:
    content, rows = noise()
    folder = invented.write(tmp_path / "study", content, rows)
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines()
    bits = str(rows[3]["metrics"]["bits_per_byte"]["all"])
    assert bits in lines[3]
    lines[3] = lines[3].replace(bits, value)
    path.write_text("\n".join(lines))
    with pytest.raises(StudyError, match=r"results\.jsonl:4"):
        read_study(folder)


def test_results_of_another_study_are_refused(tmp_path: Path) -> None:
    content, rows = noise()
    with pytest.raises(StudyError, match=r"found a result of arm 'other', seed 0"):
        analysed(tmp_path / "a", content, [*rows, {**rows[0], "arm": "other"}])
    with pytest.raises(StudyError, match=r"found two results of arm 'clean', seed 0"):
        analysed(tmp_path / "b", content, [*rows, rows[0]])
    with pytest.raises(StudyError, match=r"state: found 'done', expected one of finished"):
        analysed(tmp_path / "c", content, [{**rows[0], "state": "done"}])
    short = {**rows[1], "samples": {"items/generated": rows[1]["samples"]["items/generated"][:9]}}
    with pytest.raises(StudyError, match=r"found runs with 9 and 60 items"):
        analysed(tmp_path / "d", content, [rows[0], short, *rows[2:]])
    with pytest.raises(StudyError, match=r"primary: found 'wit', expected a metric"):
        analysed(tmp_path / "e", {**content, "metrics": {"primary": "wit"}}, rows)


def test_more_seeds_and_items_see_less(tmp_path: Path) -> None:
    analysis = analysed(tmp_path, *noise())
    power = by_name(analysis)["items/generated"].power
    assert power is not None
    for row in power.mde:
        assert list(row) == sorted(row, reverse=True), "more items"
    for column in zip(*power.mde, strict=True):
        assert list(column) == sorted(column, reverse=True), "more seeds"
    at = power.items.index(invented.ITEMS)
    mde = by_arm(by_name(analysis)["items/generated"])["noise10"].mde
    assert mde is not None
    assert power.mde[power.seeds.index(6)][at] == pytest.approx(mde, rel=1)
    for n, column in zip(power.needed, zip(*power.mde, strict=True), strict=True):
        if n is not None and n in power.seeds:
            assert column[power.seeds.index(n)] <= power.target


def test_where_repetition_turns(tmp_path: Path) -> None:
    epochs = (1, 2, 4, 8, 16)
    low = {e: 2.4 + 0.02 * (math.log2(e) - 1) ** 2 for e in epochs}
    high = {e: 2.2 + 0.02 * (math.log2(e) - 3) ** 2 for e in epochs}
    content, rows = invented.repetition({"low": low, "high": high})
    analysis = analysed(tmp_path, content, rows)
    assert analysis.repetition is not None
    tiers = {tier.tier: tier for tier in analysis.repetition.tiers}
    assert [p.epochs for p in tiers["low"].points] == list(epochs)
    for name, turn in (("low", 2), ("high", 8)):
        least = tiers[name].least
        assert least is not None
        assert least.value == pytest.approx(turn, rel=0.25)
        assert least.low <= least.value <= least.high
        assert f"{name} has its least loss at" in analysis.decision
    assert "low turns" in analysis.decision
    assert "epochs before high" in analysis.decision
    gaps = analysis.repetition.gaps
    assert [(gap.one, gap.other, gap.rises.epochs) for gap in gaps] == [
        ("low", "high", e) for e in epochs[1:]
    ]
    # From 1 to 16 epochs low goes 0.02 (3^2 - 1) up, high 0.02 (3^2 - 1) down.
    assert gaps[-1].rises.difference == pytest.approx(0.32, abs=0.02)
    assert "16 epochs instead of 1 cost low 0.3" in analysis.decision
    assert "more than high (95" in analysis.decision


def test_tiers_that_rise_alike_are_not_told_apart(tmp_path: Path) -> None:
    rise = {e: 2.2 + 0.1 * (e - 1) ** 1.5 for e in (1, 2, 4, 8)}
    analysis = analysed(tmp_path, *invented.repetition({"low": rise, "high": rise}))
    assert analysis.repetition is not None
    assert len(analysis.repetition.gaps) == 3
    assert "costs one of them more than another is not shown either" in analysis.decision


def test_a_loss_that_does_not_turn_has_no_number(tmp_path: Path) -> None:
    flat = dict.fromkeys((1, 2, 4, 8), 2.4)
    analysis = analysed(tmp_path, *invented.repetition({"low": flat}, seed=4))
    assert analysis.repetition is not None
    [tier] = analysis.repetition.tiers
    assert (tier.least, tier.half_worth, tier.worse_from) == (None, None, None)
    assert "do not differ by epochs" in tier.notes["least"]
    assert "where low turns is not identified" in analysis.decision
    assert any(w.startswith("Where low turns is not identified") for w in analysis.warnings)
    short = analysed(tmp_path / "b", *invented.repetition({"low": {1: 2.4, 2: 2.5}}))
    assert "low is worse than at 1 epoch from 2 on" in short.decision
    assert any("found 2 numbers of epochs" in warning for warning in short.warnings)
