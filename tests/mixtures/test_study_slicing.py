"""Documents of its own for each seed of an arm."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from dataflow.recipe.problems import RecipeError
from mixtures.selection import Part
from mixtures.studies.loading import load_study
from mixtures.studies.slicing import slice_of
from tests.mixtures.faked_studies import make_corpus, run_faked, starts, study_file

pytestmark = pytest.mark.usefixtures("trainer_asked_once")


def _mixture(**fields: Any) -> dict[str, Any]:
    return {"components": {"all": {"weight": "100%", **fields}}}


@pytest.mark.parametrize("of", [1, 3, 4])
def test_slices_are_equal_disjoint_and_all_of_the_part(of: int) -> None:
    whole = Part(salt="x", start=Fraction(1, 2), stop=Fraction(9, 10))
    asked = _mixture(part={"salt": "x", "start": "1/2", "stop": 0.9}, sources=["prose"])
    found = [slice_of(asked, place, of, "other") for place in range(of)]
    parts = [Part(**one["components"]["all"]["part"]) for one in found]
    assert (parts[0].start, parts[-1].stop) == (whole.start, whole.stop)
    for one, following in itertools.pairwise(parts):
        assert one.stop == following.start
    assert {one.stop - one.start for one in parts} == {Fraction(2, 5) / of}
    assert {one.salt for one in parts} == {"x"}
    assert found[0]["components"]["all"]["sources"] == ["prose"]
    assert asked["components"]["all"]["part"]["stop"] == 0.9, "what was asked is not changed"


def test_documents_without_a_part_are_cut_by_the_studys_salt() -> None:
    part = slice_of(_mixture(), 1, 4, "study")["components"]["all"]["part"]
    assert part == {"salt": "study", "start": "1/4", "stop": "1/2"}


def test_each_seed_trains_on_its_own_and_arms_of_the_same_seeds_on_the_same(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    arms = {
        "clean": {"mixture": _mixture(part={"salt": "p", "start": 0, "stop": "1/2"})},
        "high": {"mixture": _mixture(part={"salt": "p", "start": 0, "stop": "1/2"}, epochs=3)},
        "null": {
            "mixture": _mixture(part={"salt": "p", "start": "1/2", "stop": 1}),
            "role": "null",
            "seeds": [10, 11, 12, 13],
        },
    }
    path = study_file(tmp_path, corpus, arms=arms, documents="by_seed")
    found = run_faked(path, tmp_path / "out")
    assert found.complete
    assert found.study["documents"] == "by_seed"
    assert starts(tmp_path / "out") == 12
    parts: dict[str, list[Part]] = {}
    for arm in arms:
        for seed in found.study["arms"][arm]["seeds"]:
            file = tmp_path / "out" / "mixtures" / f"{arm}-seed{seed}.yaml"
            content = yaml.safe_load(file.read_text())
            assert content["name"] == file.stem
            parts.setdefault(arm, []).append(Part(**content["components"]["all"]["part"]))
    assert parts["clean"] == parts["high"], "pairs of a seed are of the same documents"
    for one, other in itertools.combinations(parts["clean"] + parts["null"], 2):
        assert not one.overlaps(other)


def test_a_seed_whose_slice_is_too_small_is_refused_before_anything_runs(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    arms = {"clean": {"mixture": _mixture(epochs=1)}}
    path = study_file(tmp_path, corpus, arms=arms, tokens=8192)
    assert run_faked(path, tmp_path / "shared").complete
    path = study_file(tmp_path, corpus, arms=arms, tokens=8192, documents="by_seed")
    with pytest.raises(RecipeError, match=r"arms\.clean\.mixture: found a mixture that"):
        run_faked(path, tmp_path / "own")
    assert starts(tmp_path / "own") == 0


def test_a_study_of_repetition_has_no_slices(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "kind": "repetition", "repetition": {"tiers": {"low": {"tiers": ["low"]}}},
        "documents": "by_seed", "baseline": None, "arms": {},
    }  # fmt: skip
    path = study_file(tmp_path, tmp_path, **content)
    with pytest.raises(RecipeError, match="documents: found by_seed, expected shared"):
        load_study(path)
