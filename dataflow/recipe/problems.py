"""What is wrong with a recipe, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing to correct.

    Attributes
    ----------
    file: the recipe, as the user named it.
    line, column: 1-based position in it; 0 where the problem has none.
    key: dotted path, such as ``sources[2].rules`` (empty: the whole file).
    found: what stands there.
    expected: what may stand there.
    nearest: the valid name that resembles what was found, or None.
    """

    file: str
    line: int
    column: int
    key: str
    found: str
    expected: str
    nearest: str | None = None

    def render(self) -> str:
        """One line: ``FILE:LINE:COLUMN: KEY: found X, expected Y; did you mean Z?``."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        hint = f"; did you mean {self.nearest!r}?" if self.nearest is not None else ""
        return f"{where}:{key} found {self.found}, expected {self.expected}{hint}"

    def to_json(self) -> dict[str, Any]:
        """The problem as plain JSON values."""
        return dict(self.__dict__)


class RecipeError(ValueError):
    """A recipe that cannot be built. ``problems`` holds all of them, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column, p.key)))
        super().__init__("\n".join(problem.render() for problem in self.problems))

    def render(self) -> str:
        """All problems, one a line, under a line that counts them."""
        count = len(self.problems)
        head = f"The recipe has {count} problem{'s' if count != 1 else ''}:"
        return "\n".join([head, *(f"  {problem.render()}" for problem in self.problems)])

    def to_json(self) -> dict[str, Any]:
        """``{"ok": false, "problems": [...]}``."""
        return {"ok": False, "problems": [problem.to_json() for problem in self.problems]}


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to ``name``, or None if none resembles it."""
    candidates = sorted(valid)
    close = difflib.get_close_matches(name, candidates, 1, 0.6)
    if not close:
        folded = {c.lower().replace("-", "_"): c for c in candidates}
        close = difflib.get_close_matches(name.lower().replace("-", "_"), sorted(folded), 1, 0.6)
        close = [folded[c] for c in close]
    return close[0] if close else None


def one_of(names: Sequence[str]) -> str:
    """``one of a, b, c``, shortened where the list is long."""
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:24])
    return f"one of {shown}" + (f" and {len(names) - 24} more" if len(names) > 24 else "")


def shown(value: object, limit: int = 60) -> str:
    """A value as a message quotes it, on one line and not too long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" + (f" with {one_of(sorted(map(str, value)))}" if value else "")
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
