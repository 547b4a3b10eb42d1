"""Plausible wrong answers to questions whose right answer is known, each with a score.

A wrong answer is of the right one's kind: another letter, another colour, a count off by one, a box
elsewhere, words with wrong letters, or the faults that MiniMax-01 (section 6.3) names of hard
pictures of text, such as output that repeats itself. The right answer scores 1; a wrong one less
the farther off it is, so that pairs of a small gap can be told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vl_data.synthesis.colours import COLOURS
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.sample import Turn
from vl_data.synthesis.shapes import SHAPES

RIGHT = 1.0
"""The score of the right answer."""
_OPTION = re.compile(r"^([A-D])\. ", re.MULTILINE)
_NUMBER = re.compile(r"\d+")
_BOX = re.compile(r"\[\d+, \d+, \d+, \d+\]")
_REPEATED = 4
"""One open answer of so many is rejected for being said again and again."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Wrong(NamedTuple):
    """An answer that is not right; ``score`` below `RIGHT`."""

    text: str
    score: float


def wrong_answer(draws: Draws, turn: Turn) -> Wrong:
    """A wrong answer to a turn's question, never its right one."""
    right = turn.answer
    if right in ("yes", "no"):
        return Wrong("no" if right == "yes" else "yes", 0.0)
    letters = [letter for letter in _OPTION.findall(turn.question) if letter != right]
    if turn.asked.prompt == "choice" and letters:
        return Wrong(draws.pick(letters), 0.0)
    if draws.below(_REPEATED) == 0:
        return _repeated(draws, right)
    if _BOX.fullmatch(right):
        return Wrong(_elsewhere(draws, right), 0.3)
    if _NUMBER.search(right):
        return Wrong(_off_by_one(draws, right), 0.5)
    named = _another_name(draws, right)
    if named is not None:
        return Wrong(named, 0.2)
    return _misread(draws, right)


def _elsewhere(draws: Draws, box: str) -> str:
    """A box of the same size, moved by a tenth of the picture or more along each axis."""
    left, top, right, bottom = map(int, _NUMBER.findall(box))
    x, y = _moved(draws, left, right), _moved(draws, top, bottom)
    return f"[{left + x}, {top + y}, {right + x}, {bottom + y}]"


def _moved(draws: Draws, low: int, high: int) -> int:
    """By how much, of -300 … -100 and 100 … 300, towards where there is more room."""
    away = draws.between(100, 300)
    return away if 1000 - high >= low else -away


def _off_by_one(draws: Draws, text: str) -> str:
    """The text with one of its numbers one more or less; below none is no number."""
    found = draws.pick(list(_NUMBER.finditer(text)))
    value = int(found[0])
    other = value + 1 if value == 0 or draws.coin() else value - 1
    return text[: found.start()] + str(other).zfill(len(found[0])) + text[found.end() :]


def _another_name(draws: Draws, text: str) -> str | None:
    """The text with a colour or a shape in it replaced by another; None without one."""
    for names in (tuple(COLOURS), SHAPES):
        for name in names:
            word = re.compile(rf"\b{re.escape(name)}\b")
            if word.search(text):
                return word.sub(draws.pick([n for n in names if n != name]), text, count=1)
    return None


def _repeated(draws: Draws, text: str) -> Wrong:
    """The answer said again and again."""
    return Wrong(" ".join([text] * draws.between(3, 8)), 0.0)


def _misread(draws: Draws, text: str) -> Wrong:
    """The text with some of its letters read wrong; the score is the part that is right."""
    places = [i for i, character in enumerate(text) if character.isalpha()]
    if not places:
        return _repeated(draws, text)
    wrong = draws.picks(places, draws.between(1, max(1, len(places) // 4)))
    letters = list(text)
    for place in wrong:
        other = draws.pick([c for c in _LETTERS if c != text[place].lower()])
        letters[place] = other.upper() if text[place].isupper() else other
    return Wrong("".join(letters), RIGHT - len(wrong) / len(places))
