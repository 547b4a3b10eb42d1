"""The rubric as models are asked by it: whole in an instruction, or a section of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

RUBRIC = 1
"""The number of the rubric that is asked by."""
_FRAME = Path(__file__).with_name("frame.md")
_FILE = Path(__file__).parent.parent / f"rubric-{RUBRIC}.md"
_SECTION = re.compile(r"^## (\w+)(?:: (.+))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """What the rubric says of a dimension: its ``title`` and the whole section, with its head."""

    title: str
    text: str


@cache
def instruction() -> str:
    """Our frame, and the rubric after it as it stands in its file."""
    return f"{_read(_FRAME)}\n\n{_read(_FILE)}"


@cache
def sections() -> dict[str, Section]:
    """The rubric's sections by the word in their heads (``depth``, ``category``, …)."""
    text = _read(_FILE)
    heads = list(_SECTION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head[1]: Section(head[2] or head[1], text[head.start() : end].strip())
        for head, end in zip(heads, ends, strict=True)
    }


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
