"""The shapes of answers: what is asked for as JSON schema, and what is checked besides."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

TAG_WORDS, TAG_LENGTH = 6, 60
"""Bounds of a tag in words and characters; the prompt asks for less."""


def _tidy(text: str) -> str:
    tidied = text.strip()
    if not tidied:
        raise ValueError("found no text")
    return tidied


def _tag(text: str) -> str:
    tag = " ".join(text.lower().split()).strip("\"'.")
    if not tag:
        raise ValueError("found no text")
    if len(tag) > TAG_LENGTH or len(tag.split()) > TAG_WORDS:
        raise ValueError(f"expected at most {TAG_WORDS} words and {TAG_LENGTH} characters")
    return tag


class Caption(BaseModel):
    """A refined caption and a description."""

    # Checks that some servers' schemas do not know are made here and not in the schema.
    model_config = ConfigDict(extra="forbid")
    caption: Annotated[str, AfterValidator(_tidy)]
    description: Annotated[str, AfterValidator(_tidy)]


class Tag(BaseModel):
    """A capability, in lower case."""

    model_config = ConfigDict(extra="forbid")
    tag: Annotated[str, AfterValidator(_tag)]
