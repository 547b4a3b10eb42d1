"""The shape of an answer: asked for as JSON schema, and held against it in any case."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema

from quality.reward.labels import CATEGORIES, HIGHEST

LONGEST_REASON = 600
"""Characters; the prompt asks for less."""


def _in_range(value: int) -> int:
    if not 0 <= value <= HIGHEST:
        raise ValueError(f"expected 0 to {HIGHEST}")
    return value


def _known(name: str) -> str:
    if name not in CATEGORIES:
        raise ValueError(f"expected one of {', '.join(CATEGORIES)}")
    return name


def _line(text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ValueError("found no text")
    if len(line) > LONGEST_REASON:
        raise ValueError(f"expected at most {LONGEST_REASON} characters")
    return line


# An enumeration, because not every server that decodes by a schema knows bounds of numbers.
Points = Annotated[
    int,
    AfterValidator(_in_range),
    WithJsonSchema({"type": "integer", "enum": list(range(HIGHEST + 1))}),
]
Category = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(CATEGORIES)})
]


def _closed(schema: dict[str, Any]) -> None:
    schema.pop("description", None)  # the docstring is for readers of this file


class Judgement(BaseModel):
    """Scores by the rubric. The reason comes first, so that the scores are written after it."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_closed)
    reason: Annotated[str, AfterValidator(_line)]
    depth: Points
    helpfulness: Points
    coherence: Points
    conciseness: Points
    educational_value: Points
    category: Category
