"""Many invented studies: how often an analysis is wrong, and how often it finds what is there."""

from __future__ import annotations

import numpy as np
import pytest

from mixtures.statistics import Components, detectable
from mixtures.studies.analysis import analyse
from mixtures.studies.analysis.outcome import Analysis
from mixtures.studies.analysis.reading import assemble
from mixtures.studies.analysis.records import RunRecord
from tests.mixtures import invented_studies as invented

pytestmark = pytest.mark.long

SIGMA_SEED, SIGMA = 0.02, 0.01
"""What the runs of a seed have in common, and what each has of its own."""


def simulated(effects: dict[str, float], rng: np.random.Generator) -> Analysis:
    content = invented.study({name: {} for name in ("clean", *effects)})
    runs = []
    for seed in content["seeds"]:
        common = rng.normal(0, SIGMA_SEED)
        for arm in content["arms"]:
            bits = 2.4 + effects.get(arm, 0.0) + common + rng.normal(0, SIGMA)
            metrics = {"bits_per_byte": {"all": float(bits)}}
            runs.append(RunRecord(arm, seed, "finished", metrics=metrics))
    return analyse(assemble(content, runs, "invented"))


def test_a_study_of_nothing_finds_something_in_one_of_twenty_at_most() -> None:
    rng = np.random.default_rng(11)
    draws, wrong, recommended = 500, 0, 0
    for _ in range(draws):
        analysis = simulated({"a": 0.0, "b": 0.0, "c": 0.0}, rng)
        seen = [c.arm for c in analysis.metrics[0].comparisons if c.verdict != "not shown"]
        wrong += bool(seen)
        recommended += "is better than clean" in analysis.decision
    assert recommended == wrong
    # Holm over three tests that share a baseline holds 5 % with a little to spare.
    assert 0.02 < wrong / draws < 0.065


def test_the_detectable_effect_is_found_as_often_as_promised() -> None:
    rng = np.random.default_rng(12)
    true = Components(run=2 * SIGMA**2, groups=1, items=1)
    effect = detectable(true, 6, 1)
    draws = 500
    found, promised = 0, []
    for _ in range(draws):
        [c] = simulated({"better": -effect}, rng).metrics[0].comparisons
        found += c.verdict == "better"
        promised.append(c.mde or 0)
    assert found / draws == pytest.approx(0.8, abs=0.05)
    assert np.sqrt(np.mean(np.square(promised))) == pytest.approx(effect, rel=0.05)
