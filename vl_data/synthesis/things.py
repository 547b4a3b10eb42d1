"""Pictures of coloured shapes: what the families of counts, colours, places and boxes share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PIL import Image

from vl_data.synthesis.arrangement import arrange
from vl_data.synthesis.colours import BACKGROUNDS, COLOURS, shade
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.sample import Frame
from vl_data.synthesis.shapes import (
    SHAPES,
    SMALL_SHAPES,
    SMALL_SIDE,
    Item,
    box_at,
    paint,
    plural,
)

SMALLEST_THING = 6
"""Pixels; a shape of fewer has no form."""
NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip


def shapes_for(frame: Frame) -> tuple[str, ...]:
    """The shapes that can be told apart in a frame."""
    return SMALL_SHAPES if frame.side < SMALL_SIDE else SHAPES


def different(draws: Draws, frame: Frame, count: int) -> list[tuple[str, str]]:
    """``count`` pairs (shape, colour) with no colour twice, and no shape twice while they last."""
    shapes: list[str] = []
    while len(shapes) < count:
        shapes += draws.shuffled(shapes_for(frame))
    return list(zip(shapes[:count], draws.picks(list(COLOURS), count), strict=True))


def place(draws: Draws, frame: Frame, layout: str, kinds: Sequence[tuple[str, str]]) -> list[Item]:
    """Items of the kinds (shape, colour) in a layout."""
    places = arrange(draws, layout, len(kinds), frame.width, frame.height)
    return [
        make_item(draws, kind, spot.x, spot.y, max(SMALLEST_THING, int(spot.room)))
        for kind, spot in zip(kinds, places, strict=True)
    ]


def make_item(draws: Draws, kind: tuple[str, str], x: float, y: float, size: int) -> Item:
    """One item about a centre."""
    shape, colour = kind
    return Item(shape, colour, shade(draws, colour), box_at(shape, x, y, size))


def picture(draws: Draws, frame: Frame, items: list[Item]) -> tuple[Image.Image, str]:
    """The items painted, and the name of the background drawn for them."""
    background = draws.pick(list(BACKGROUNDS))
    return paint(items, frame.width, frame.height, BACKGROUNDS[background]), background


def described(items: Sequence[Item], background: str) -> str:
    """``On a white background: two red circles and a blue star.``"""
    counts = Counter((item.colour, item.shape) for item in items)
    parts = [counted(n, colour, shape) for (colour, shape), n in counts.items()]
    return f"On a {background} background: {listed(parts)}."


def counted(count: int, colour: str, shape: str) -> str:
    """``a red circle``, ``two red circles``."""
    if count == 1:
        article = "an" if colour[0] in "aeiou" else "a"
        return f"{article} {colour} {shape}"
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    return f"{number} {colour} {plural(shape)}"


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]
