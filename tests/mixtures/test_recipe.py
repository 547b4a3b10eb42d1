"""Mixture files: what they may say, and where they are wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dataflow.recipe import RecipeError
from mixtures.recipe import load_mixture, mixture_of
from mixtures.recipe.loading import RECIPES
from mixtures.recipe.shares import parse_ratio, parse_share

CODE = "  code: {sources: [a], weight: 40%}\n"


def write(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_mixture(write(folder, text))
    return str(caught.value)


def test_a_whole_file(tmp_path: Path) -> None:
    mixture = load_mixture(
        write(
            tmp_path,
            "name: mine\ncomponents:\n" + CODE + "  prose: {except_sources: [a], languages: [en], "
            'tiers: [high, unscored], where: ["gopher.words >= 50"], weight: 55%, epochs: 3}\n'
            "  low: {except_sources: [a], tiers: [low], weight: 0.05, floor: 1/50, "
            "part: {salt: a, start: 0, stop: 1/2}, repeat: {1: 1, 5: 2}, length: short}\n",
        )
    )
    assert [part.weight for part in mixture.components.values()] == [
        Fraction(2, 5), Fraction(11, 20), Fraction(1, 20),
    ]  # fmt: skip
    assert [part.cap for part in mixture.components.values()] == [4, 3, 2]
    low = mixture.drawn()[2]
    assert low.repeat == {1: 1, 5: 2}
    assert low.length == "short"
    assert low.part is not None
    assert low.part.stop == Fraction(1, 2)
    assert mixture_of(mixture.model_dump(mode="json")) == mixture


def test_low_text_is_read_twice_at_most_beside_other_tiers_too() -> None:
    for tiers, cap in ((["low"], 2), (["high", "low"], 2), (["high"], 4)):
        part = {"tiers": tiers, "weight": "100%"}
        assert mixture_of({"components": {"a": part}}).components["a"].cap == cap


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CODE + "  b: {sources: [b], weight: 55%}\n", ["95%", "code 40%", "100%: 5% more"]),
        (CODE + "  b: {sources: [b], weigth: 60%}\n", ["mine.yaml:3", "did you mean 'weight'"]),
        (CODE + "  b: {sources: [a], weight: 60%}\n", ["'code' and 'b'", "same document"]),
        (CODE + "  b: {sources: [b], times: 2}\n", ["weight of code and times of b"]),
        (CODE + "  b: {sources: [b]}\n", ["neither of b"]),
        (CODE + "  b: {sources: [b], weight: 160%}\n", ["mine.yaml:3", "at most 100%"]),
        (CODE + "  b: {sources: [b], weight: 60%, floor: 70%}\n  c: {sources: [c], weight: 0, "
         "floor: 40%}\n", ["floors of 110%"]),
        (CODE + "  b: {sources: [b], weight: 60%, where: [words]}\n", ["'words'", "a comparison",
         ][:1]),
        (CODE + "  b: {sources: [b], weight: 60%, epochs: 1, repeat: {1: 1, 5: 2}}\n", ["2 times"]),
        (CODE + "  b: {sources: [b], weight: 60%, length: huge}\n", ["mine.yaml:3", "'short'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    told = refused(tmp_path, "components:\n" + text)
    for word in words:
        assert word in told


def test_a_name_is_the_file_s(tmp_path: Path) -> None:
    text = "name: other\ncomponents:\n  all: {weight: 100%}\n"
    assert "'mine', as the file is called" in refused(tmp_path, text)
    with pytest.raises(RecipeError, match="did you mean 'quickstart'"):
        load_mixture("quickstrat")


def test_values_without_a_file_are_told_with_their_key() -> None:
    with pytest.raises(RecipeError, match=r"arm noise: components.a.weigth: .*'weight'"):
        mixture_of({"components": {"a": {"weigth": "100%"}}}, "arm noise")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_those_of_the_project_load(path: Path) -> None:
    assert load_mixture(path.stem).components


@pytest.mark.parametrize(
    ("written", "share"),
    [
        ("40%", "2/5"),
        (0.1, "1/10"),
        ("1/3", "1/3"),
        ("12.5 %", "1/8"),
        (1, "1"),
        (1e-05, "1/100000"),
    ],
)
def test_shares_are_exact(written: Any, share: str) -> None:
    assert parse_share(written) == Fraction(share)


@pytest.mark.parametrize("written", [True, "-1", "a", "1/0", "110%", None, "nan"])
def test_what_is_no_share(written: Any) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        parse_share(written)


def test_times_may_be_above_one() -> None:
    assert parse_ratio(2.5) == Fraction(5, 2)
