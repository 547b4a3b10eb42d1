"""The prompts that are sent: texts beside the code, versioned by what they say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blake3 import blake3

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system prompt. ``version`` is 16 hex digits of the BLAKE3 of its text."""

    name: str
    text: str
    version: str


@cache
def load_prompt(name: str) -> Prompt:
    """The prompt in ``NAME.md`` beside this file."""
    text = (_FOLDER / f"{name}.md").read_text(encoding="utf-8").strip()
    return Prompt(name, text, blake3(text.encode()).hexdigest()[:16])
