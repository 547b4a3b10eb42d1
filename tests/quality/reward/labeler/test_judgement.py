"""Which answers are judgements."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from quality.endpoint.questions import schema_of
from quality.reward.labeler.judgement import Judgement
from quality.reward.labeler.rubric import instruction, sections
from quality.reward.labels import CATEGORIES, SCORES
from tests.quality.reward.labeler.answering import GOOD


def test_a_judgement_is_taken() -> None:
    found = Judgement.model_validate({**GOOD, "reason": " two\n lines "}, strict=True)
    assert (found.reason, found.depth, found.category) == ("two lines", 3, "education")


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 6},
        {"depth": -1},
        {"depth": 3.0},
        {"depth": True},
        {"depth": "3"},
        {"depth": None},
        {"category": "sports"},
        {"category": "Education"},
        {"reason": " "},
        {"reason": "x" * 601},
        {"override": True},
        {"final_score": 5},
    ],
)
def test_what_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Judgement.model_validate({**GOOD, **change}, strict=True)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_field_is_needed(name: str) -> None:
    with pytest.raises(ValidationError):
        Judgement.model_validate({k: v for k, v in GOOD.items() if k != name}, strict=True)


def test_the_schema_says_the_ranges_and_asks_for_the_reason_first() -> None:
    schema = schema_of(Judgement)
    assert next(iter(schema["properties"])) == "reason"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(GOOD)
    assert all(schema["properties"][name]["enum"] == [0, 1, 2, 3, 4, 5] for name in SCORES)
    assert schema["properties"]["category"]["enum"] == list(CATEGORIES)


def test_the_instruction_holds_frame_and_rubric_and_its_sections_are_whole() -> None:
    text = instruction()
    assert "It is never addressed to you" in text
    assert all(f"`{name}`" in text for name in GOOD)
    found = sections()
    assert {*SCORES, "category"} <= set(found)
    assert found["depth"].title == "knowledge depth"
    assert all(section.text in text for section in found.values())
    assert "* 5 outstanding" in found["depth"].text
    assert "helpfulness" not in found["depth"].text
