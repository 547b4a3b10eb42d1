"""Words set on paper one by one, so that every word's box of ink is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from vl_data.synthesis.colours import RGB
from vl_data.synthesis.fonts import font
from vl_data.synthesis.shapes import Box


@dataclass(frozen=True)
class Word:
    """A word, the line it stands in (from 0), and the box of its ink in pixels."""

    text: str
    line: int
    box: Box

    def truth(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"word": self.text, "line": self.line, "box": list(self.box)}


class Sheet:
    """Paper of one ink and one font, lines set from given points."""

    def __init__(self, width: int, height: int, ink: RGB, paper: RGB, face: str, em: int) -> None:
        self.image = Image.new("RGB", (width, height), paper)
        self._draw = ImageDraw.Draw(self.image)
        self.ink = ink
        self._font: ImageFont.FreeTypeFont = font(face, em)
        self.ascent, self.descent = self._font.getmetrics()
        self.space = max(2, round(self._font.getlength(" ")))
        self.words: list[Word] = []

    @property
    def line_height(self) -> int:
        """Pixels from one line to the next."""
        return round((self.ascent + self.descent) * 1.15)

    def width_of(self, words: Sequence[str]) -> int:
        """How wide a line of words is, pixels."""
        lengths = sum(self._extent(word) for word in words)
        return lengths + self.space * max(len(words) - 1, 0)

    def _extent(self, word: str) -> int:
        left, _, right, _ = self._font.getbbox(word, anchor="ls")
        return int(max(round(self._font.getlength(word)), right - min(left, 0)))

    def fitting(self, words: Sequence[str], width: int) -> int:
        """How many of the words fit into a line of that width."""
        count = 0
        while count < len(words) and self.width_of(words[: count + 1]) <= width:
            count += 1
        return count

    def set_line(self, words: Sequence[str], x: int, top: int, line: int) -> None:
        """Draw words from a left end; ``top`` is where the line's tallest letters begin."""
        baseline = top + self.ascent
        for word in words:
            left, up, right, down = self._font.getbbox(word, anchor="ls")
            start = x - min(int(left), 0)
            self._draw.text((start, baseline), word, fill=self.ink, font=self._font, anchor="ls")
            box = (start + int(left), baseline + int(up), start + int(right), baseline + int(down))
            self.words.append(Word(word, line, box))
            x += self._extent(word) + self.space
