"""The text of a page as it grows: paragraphs on one line each, indents, text kept as it is."""

from __future__ import annotations

import re

_BLANKS = re.compile(r"[ \t\xa0]+")
_STEP = 4
_DEEPEST = 10


class Page:
    """Collects text; ``text()`` gives what was collected."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._words: list[str] = []
        self._joined = False
        self.filled = True
        self.level = 0
        self.hanging = False
        self._heading_at = 0

    def _margin(self) -> str:
        return " " * (_STEP * (min(max(self.level, 0), _DEEPEST) + self.hanging))

    def add(self, text: str, joined: bool = False) -> None:
        """Add a line of text; ``joined``: without a space before it."""
        if not self.filled:
            self._out.append((self._margin() + text).rstrip())
            return
        if text[:1] in (" ", "\t"):
            self.end_line()
        text = _BLANKS.sub(" ", text).strip()
        if not text:
            return
        if joined and self._words:
            self._words[-1] += text
        else:
            self._words.append(text)

    def end_line(self) -> None:
        """Finish the paragraph's line."""
        if self._words:
            self._out.append(self._margin() + " ".join(self._words))
            self._words = []

    def gap(self) -> None:
        """Finish the line and leave one empty line, but none behind a heading."""
        self.end_line()
        if self._out and self._out[-1] and len(self._out) != self._heading_at:
            self._out.append("")

    def heading(self, text: str, inner: bool = False) -> None:
        """A section's heading on a line of its own."""
        self.gap()
        self.filled, self.level, self.hanging = True, 0, False
        self._out.append(("  " if inner else "") + _BLANKS.sub(" ", text).strip())
        self._heading_at = len(self._out)

    def text(self) -> str:
        """Everything, with no empty lines at either end and one newline at the end."""
        self.end_line()
        body = "\n".join(self._out).strip("\n")
        return re.sub(r"\n{3,}", "\n\n", body) + "\n" if body.strip() else ""
