"""Flat shapes with exact boxes: polygons are scaled to touch all four sides of theirs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from vl_data.synthesis.colours import RGB

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first outside."""
Points = tuple[tuple[float, float], ...]


def _regular(corners: int, inner: float | None = None) -> Points:
    """A regular polygon, or with ``inner`` (a radius) a star, one tip up."""
    steps = corners if inner is None else 2 * corners
    points = []
    for i in range(steps):
        radius = inner if inner is not None and i % 2 else 1.0
        angle = 2 * math.pi * i / steps - math.pi / 2
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return _normal(points)


def _normal(points: list[tuple[float, float]]) -> Points:
    """Moved and scaled so that the larger side of its box is [0, 1] and the other begins at 0."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    size = max(max(xs) - min(xs), max(ys) - min(ys))
    return tuple(
        (round((x - min(xs)) / size, 6), round((y - min(ys)) / size, 6)) for x, y in points
    )


_THIRD = 1 / 3
POLYGONS: dict[str, Points] = {
    "triangle": _regular(3),
    "square": ((0, 0), (1, 0), (1, 1), (0, 1)),
    "diamond": ((0.35, 0), (0.7, 0.5), (0.35, 1), (0, 0.5)),
    "cross": (
        (_THIRD, 0), (2 * _THIRD, 0), (2 * _THIRD, _THIRD), (1, _THIRD), (1, 2 * _THIRD),
        (2 * _THIRD, 2 * _THIRD), (2 * _THIRD, 1), (_THIRD, 1), (_THIRD, 2 * _THIRD),
        (0, 2 * _THIRD), (0, _THIRD), (_THIRD, _THIRD),
    ),
    "star": _regular(5, inner=0.42),
    "hexagon": _regular(6),
}  # fmt: skip
SHAPES = ("circle", *POLYGONS)
SMALL_SHAPES = ("circle", "square", "triangle", "cross")
"""Those that can be told apart at a dozen pixels."""
SMALL_SIDE = 112
"""Images with a shorter side hold `SMALL_SHAPES` alone."""


def plural(shape: str) -> str:
    """``crosses``, ``circles`` …"""
    return shape + ("es" if shape.endswith("s") else "s")


@dataclass(frozen=True)
class Item:
    """One shape: its colour by name and as drawn, and its box."""

    shape: str
    colour: str
    rgb: RGB
    box: Box

    @property
    def name(self) -> str:
        """``red circle``."""
        return f"{self.colour} {self.shape}"

    @property
    def centre(self) -> tuple[float, float]:
        """Of its box, pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    def truth(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"shape": self.shape, "colour": self.colour, "box": list(self.box)}


def box_at(shape: str, x: float, y: float, size: int) -> Box:
    """The box of a shape of a size (its larger side, pixels) about a centre."""
    width, height = extent(shape, size)
    left, top = round(x - width / 2), round(y - height / 2)
    return left, top, left + width, top + height


def extent(shape: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a shape whose larger side is ``size``."""
    if shape == "circle":
        return size, size
    points = POLYGONS[shape]
    width, height = max(x for x, _ in points), max(y for _, y in points)
    return max(1, round(width * size)), max(1, round(height * size))


def paint(items: list[Item], width: int, height: int, background: RGB) -> Image.Image:
    """An RGB image of the items, smoothed at their edges.

    Drawn larger and averaged down by whole factors, so that a box is exact: what is drawn touches
    each of its sides and nothing is outside.
    """
    times = supersampling(min(width, height))
    large = Image.new("RGB", (width * times, height * times), background)
    draw = ImageDraw.Draw(large)
    for item in items:
        left, top, right, bottom = (side * times for side in item.box)
        # Pillow draws the last point too.
        across, down = right - left - 1, bottom - top - 1
        if item.shape == "circle":
            draw.ellipse((left, top, left + across, top + down), fill=item.rgb)
            continue
        points = POLYGONS[item.shape]
        wide, high = max(x for x, _ in points), max(y for _, y in points)
        draw.polygon(
            [(left + round(x / wide * across), top + round(y / high * down)) for x, y in points],
            fill=item.rgb,
        )
    return large.reduce(times) if times > 1 else large


def supersampling(side: int) -> int:
    """How many times larger to draw an image whose shorter side is ``side`` pixels."""
    if side <= 168:
        return 4
    return 2 if side <= 672 else 1
