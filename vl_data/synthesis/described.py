"""A sample's questions, one about what all things lie on, and then the picture put into words:
instructions in which every picture says much.

An answer of a word or a letter teaches a small model little of what it sees; a description names
all that is there, and a visual instruction set has both (Liu et al. 2023, arXiv:2304.08485).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vl_data.synthesis.colours import BACKGROUNDS
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.records import record_of
from vl_data.synthesis.sample import Asked, Sample, Split

_DESCRIBE = (
    "Describe the picture.",
    "What does the picture show?",
    "Say in full what is to be seen.",
    "Put the picture into words.",
)
_BACKGROUND = (
    "What colour is the background?",
    "On which background are the shapes?",
    "Which colour lies behind the shapes?",
    "Name the background's colour.",
)

_Turn = tuple[tuple[str, str], Asked]
"""A question with its answer, and what was asked."""


def described_record(number: int, sample: Sample, split: Split, seed: int) -> dict[str, Any]:
    """The line of a sample, with a question about its background where it is of one colour, and a
    last turn whose answer is its description. What comes before that one is in any order.
    """
    draws = Draws(seed, split, "described", number)
    turns: list[_Turn] = list(zip(sample.turns, sample.asked, strict=True))
    background = background_of(sample)
    if background is not None:
        turns.append(((draws.pick(_BACKGROUND), background), Asked("background", "question")))
    turns = draws.shuffled(turns)
    turns.append(((draws.pick(_DESCRIBE), sample.description), Asked("describe", "instruction")))
    said, asked = zip(*turns, strict=True)
    return record_of(number, replace(sample, turns=said, asked=asked), split)


def background_of(sample: Sample) -> str | None:
    """The background that the description names; None where it names none."""
    told = sample.description
    return next((name for name in BACKGROUNDS if told.startswith(f"On a {name} background")), None)
