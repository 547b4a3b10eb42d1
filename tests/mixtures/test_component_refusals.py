"""What components cannot choose by is said: fields, signals, values that no document has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mixtures.plan import Component, Plan, PlanRefused
from mixtures.spec import Packing
from tests.mixtures.made_runs import Made, make_run
from tests.mixtures.test_components import WORDS, spec_of

REFUSED: list[tuple[list[dict[str, Any]], str]] = [
    ([{"where": (f"{WORDS} >= 50",)}, {}], r"document {id} is of component 'c0' and of 'c1', and"),
    (
        [{"where": ("gopher.wordz > 1",)}],
        r"found signal 'gopher.wordz', .*nearest is 'gopher.words'",
    ),
    (
        [{"where": ("text.words > 1",)}],
        r"signal 'text.words' was not measured in this run; add a rule .*signal: text.words",
    ),
    (
        [{"where": ("license == 1",)}],
        r"condition on 'license', which says where a document is from",
    ),
    (
        [{"tiers": ("hihg",)}],
        r"'c0' matches no train document: found tiers \['hihg'\], expected some of unscored "
        r"\(36 tokens in 6 documents\), high \(18 tokens in 3 documents\); nearest to 'hihg' is "
        r"'high'",
    ),
    ([{"domains": ("law",)}], r"found domains \['law'\], expected some of none \(54 tokens in 9"),
    (
        [{"tiers": ("high",), "where": (f"{WORDS} > 99",)}],
        r"matches no train document: 3 match its columns, and none of these gopher.words > 99",
    ),
    (
        [{"tiers": ("high",), "sources": ("code",)}],
        r"found none with all of sources \['code'\], tiers \['high'\]; take one away",
    ),
    (
        [{"tiers": ("high",), "length": "long"}],
        r"of length long at L1 = 131,072 tokens; 3 of other",
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "made"
    documents = [
        Made(
            "code" if i % 3 else "web", 6, "train" if i < 9 else "heldout", signals={WORDS: 50 + i},
            tier="unscored" if i % 3 else "high",
        )
        for i in range(12)
    ]  # fmt: skip
    make_run(folder, documents)
    return folder


@pytest.mark.parametrize("packing", ["stream", "whole"])
@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_cannot_be_chosen_is_said(
    run: Path, tmp_path: Path, fields: list[dict[str, Any]], message: str, packing: Packing
) -> None:
    components = tuple(Component(name=f"c{i}", weight=1, **one) for i, one in enumerate(fields))
    with pytest.raises(PlanRefused, match=message.replace("{id}", "[0-9a-f]{32}")):
        Plan.compile(run, spec_of(components, tokens=32, packing=packing), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tiers": ("high", "low")}, {"tiers": ("low",)}),
        ({"languages": ("en",)}, {"tiers": ("low",)}),
        ({"part": {"salt": "a", "stop": "1/2"}}, {"part": {"salt": "b", "start": "1/2"}}),
        ({"part": {"salt": "a", "stop": "1/2"}}, {"part": {"salt": "a", "start": "1/3"}}),
    ],
)
def test_components_that_columns_do_not_tell_apart_are_refused(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError, match=r"'a' and 'b' can hold the same document"):
        spec_of((Component(name="a", weight=1, **one), Component(name="b", weight=1, **other)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"where": ("gopher.words about 50",)},
            "found condition 'gopher.words about 50', expected",
        ),
        ({"where": ("gopher.words > many",)}, "found 'many' in condition"),
        ({"where": ("gopher.words > nan",)}, "expected a finite number"),
        ({"dialects": ("gopher.qualty",)}, "nearest is 'gopher.quality'"),
        ({"repeat": {2: 1}}, r"expected sizes from 1 on"),
        ({"repeat": {1: 2, 5: 1}}, r"expected no fewer times for a larger cluster"),
        ({"repeat": {1: 1, 5: 5}}, r"found 5 times .* expected at most epochs, which is 4"),
        ({"tiers": ()}, "at least 1 item"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Component(name="a", weight=1, **fields)
