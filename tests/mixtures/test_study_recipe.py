"""A study's file: what it may say, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.recipe import RecipeError
from mixtures.studies.loading import load_study
from mixtures.studies.recipe import StudyRecipe

STUDY = """\
name: noise
question: Does noise hurt?
corpus: {run: runs/none}
model: tiny
stage: text_8k
tokens: 256Ki
seeds: [0, 1, 2, 3]
baseline: clean
arms:
  clean: {mixture: {components: {all: {weight: 100%}}}}
  null: {mixture: {components: {all: {weight: 100%}}}, seeds: [10, 11, 12, 13], role: null}
  noise30: {mixture: other.yaml, role: dose, dose: 0.3}
"""


def _load(tmp_path: Path, text: str) -> StudyRecipe:
    path = tmp_path / "noise.yaml"
    path.write_text(text)
    return load_study(path).recipe


def test_a_study_is_read_with_its_defaults_and_null_is_a_name(tmp_path: Path) -> None:
    study = _load(tmp_path, STUDY)
    assert study.tokens == 262_144
    assert study.arms["null"].role == "null"
    assert study.arms["clean"].role is None
    assert study.metrics.primary == "bits_per_byte"
    assert study.arms["null"].seeds == (10, 11, 12, 13)


def test_a_number_of_seeds_is_short_for_the_first_ones(tmp_path: Path) -> None:
    assert _load(tmp_path, STUDY.replace("[0, 1, 2, 3]", "5")).seeds == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("baseline: clean", "baseline: claen", ":8:11: baseline: found no arm 'claen'"),
        ("[10, 11, 12, 13]", "[10, 11]", "arms.null.seeds: found 2 seeds, expected 4 or more"),
        ("[0, 1, 2, 3]", "[0, 1, 1, 3]", "seeds: found seeds [0, 1, 1, 3], expected each seed on"),
        ("role: dose,", "role: dose, tokens: 128Ki,", "arms.noise30.tokens: found 131072 tokens"),
        ("{mixture: other.yaml, role", "{role", "arms.noise30: found no mixture"),
        ("tokens: 256Ki", "tokens: lots", "tokens: found 'lots', expected a number of tokens"),
        ("model: tiny", "modle: tiny", "modle: found unknown key 'modle'"),
        ("{run: runs/none}", "{}", "corpus: found neither recipe nor run"),
        ("baseline:", "metrics: {primary: items/piqa}\nbaseline:", "primary: found 'items/piqa'"),
        ("baseline:", "kind: repetition\nbaseline:", "repetition: found nothing"),
        ("role: dose", "role: worse", "arms.noise30.role"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in STUDY
    with pytest.raises(RecipeError) as raised:
        _load(tmp_path, STUDY.replace(old, new, 1))
    assert told in str(raised.value)
    assert "noise.yaml:" in str(raised.value)


def test_few_seeds_must_be_said(tmp_path: Path) -> None:
    text = STUDY.replace("[0, 1, 2, 3]", "[0, 1]")
    with pytest.raises(RecipeError, match="few_seeds"):
        _load(tmp_path, text)
    assert _load(tmp_path, text + "few_seeds: true\n").few_seeds


def test_a_study_of_repetition_makes_its_arms(tmp_path: Path) -> None:
    head = STUDY[: STUDY.index("baseline")] + "kind: repetition\n"
    study = _load(tmp_path, head + "repetition: {epochs: [1, 2], tiers: {high: {tiers: [high]}}}\n")
    assert study.repetition is not None
    with pytest.raises(RecipeError, match="epochs"):
        _load(tmp_path, head + "repetition: {epochs: [2, 1], tiers: {high: {}}}\n")
    with pytest.raises(RecipeError, match="weight of tier high"):
        _load(tmp_path, head + "repetition: {tiers: {high: {weight: 50%}}}\n")


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a study's YAML file"):
        load_study(tmp_path / "none.yaml")
