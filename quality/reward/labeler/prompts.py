"""What a checkpoint is asked: one prompt a dimension, and the answers whose likelihood counts.

A language model that was never taught to follow instructions continues text. So each prompt is a
text that a score follows: what the rubric says of the dimension, the document, "Score:".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import orjson
from blake3 import blake3

from quality.reward.labeler.excerpts import Part, excerpt
from quality.reward.labeler.fence import fenced
from quality.reward.labeler.rubric import sections
from quality.reward.labels import CATEGORIES, HIGHEST, SCORES

CATEGORY = "category"
DIMENSIONS = (*SCORES, CATEGORY)
POINTS = tuple(f" {k}" for k in range(HIGHEST + 1))
NAMES = tuple(f" {name.replace('_', ' ')}" for name in CATEGORIES)
NOTHING = (Part(0, 0, ""),)
"""The excerpt of an empty document."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and the answers that may follow it; ``key``: 16 hex digits over both."""

    context: str
    continuations: tuple[str, ...]

    @property
    def key(self) -> str:
        asked = orjson.dumps([self.context, self.continuations])
        return str(blake3(asked).hexdigest(length=8))


def ask_of(dimension: str, parts: Sequence[Part], characters: int) -> Asked:
    """The prompt of a dimension for the parts of a document of so many characters."""
    section = sections()[dimension]
    shown = fenced(parts, characters)
    if dimension == CATEGORY:
        last, answers = "The one category of the document:", NAMES
    else:
        last = f"The document's score for {section.title}, a whole number from 0 to {HIGHEST}:"
        answers = POINTS
    return Asked(f"{section.text}\n\n{shown}\n\n{last}", answers)


@cache
def version() -> str:
    """16 hex digits over the prompts as they are for an empty document and for a cut one."""
    cut = excerpt("abcdef", 3)
    asked = [
        ask_of(name, parts, n).key for name in DIMENSIONS for parts, n in ((NOTHING, 0), (cut, 6))
    ]
    return str(blake3("".join(asked).encode()).hexdigest(length=8))
