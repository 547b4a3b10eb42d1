"""Geometry: sides, angles, areas. What is asked follows from what is drawn and written there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from vl_data.synthesis.colours import BACKGROUNDS, RGB, seen_on, shade
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.fonts import font
from vl_data.synthesis.phrasings import Question, ask, numbers_near
from vl_data.synthesis.sample import Family, Frame, Layouts, Made, Turn
from vl_data.synthesis.shapes import SMALL_SIDE, supersampling

Point = tuple[float, float]

POLYGONS = {
    3: "triangle",
    4: "quadrilateral",
    5: "pentagon",
    6: "hexagon",
    7: "heptagon",
    8: "octagon",
}

_SIDES = Question(
    "sides",
    ("How many sides does the figure have?", "How many corners does this polygon have?"),
    ("Count the sides of the figure.", "Give the number of corners of the polygon as digits."),
    ("The figure has {answer} sides.", "This polygon has {answer} corners."),
)
_POLYGON = Question(
    "polygon",
    ("What is a figure of this form called?", "Which polygon is this?"),
    ("Name the polygon.", "Say what this figure is called."),
    ("The figure is called a polygon of this kind: {answer}.", "Name of the polygon: {answer}."),
)
_ANGLE = Question(
    "angle",
    ("Is the angle acute, right or obtuse?", "Of which kind is the angle: acute, right, obtuse?"),
    ("Say whether the angle is acute, right or obtuse.", "Name the kind of the angle."),
    ("The angle between the lines is of this kind: {answer}.", "Kind of the angle: {answer}."),
)
_DEGREES = Question(
    "degrees",
    ("To the nearest 15 degrees, how large is the angle?",
     "How many degrees does the angle have, to the nearest 15?"),
    ("Estimate the angle to the nearest 15 degrees. Give a number.",
     "Give the size of the angle in degrees, rounded to 15."),
    ("To the nearest 15, the angle has {answer} degrees.", "The angle measures {answer} degrees."),
)  # fmt: skip
_AREA = Question(
    "area",
    ("What is the area of the rectangle?", "How large is the rectangle's area?"),
    ("Compute the area of the rectangle.", "Give the rectangle's area as a number."),
    ("The rectangle's area is {answer}.", "The area of the rectangle comes to {answer}."),
)
_PERIMETER = Question(
    "perimeter",
    ("What is the perimeter of the rectangle?", "How long is the way once around the rectangle?"),
    ("Compute the perimeter of the rectangle.", "Give the rectangle's perimeter as a number."),
    ("The rectangle's perimeter is {answer}.", "Once around the rectangle is {answer}."),
)
_THIRD = Question(
    "third-angle",
    ("How large is the angle marked with “?” in degrees?",
     "What is the third angle of the triangle in degrees?"),
    ("Work out the angle marked with “?”.", "Give the missing angle in degrees."),
    ("The angle marked with “?” has {answer} degrees.", "The missing angle is {answer} degrees."),
)  # fmt: skip
_DIAMETER = Question(
    "diameter",
    ("What is the diameter of the circle?", "How long is the circle's diameter?"),
    ("Work out the circle's diameter.", "Give the diameter of the circle as a number."),
    ("The circle's diameter is {answer}.", "The diameter of the circle comes to {answer}."),
)


@dataclass(frozen=True)
class _Figure:
    """Corners in pixels, what is written where (centres), and what is asked."""

    points: list[Point]
    turns: list[Turn]
    told: str
    truth: dict[str, Any]
    labels: Sequence[tuple[str, Point]] = ()
    closed: bool = True
    circle: tuple[Point, float] | None = None


def make(draws: Draws, frame: Frame) -> Made:
    """One figure; those with lengths and angles written need `SMALL_SIDE` pixels."""
    figures = _PLAIN if frame.side < SMALL_SIDE else _ALL
    name = draws.pick(list(figures))
    figure = figures[name](draws, frame)
    image = _painted(draws, frame, figure)
    truth = {
        "figure": name,
        **figure.truth,
        "points": [[round(x), round(y)] for x, y in figure.points],
    }
    return Made(image, figure.turns, figure.told, truth)


def _polygon(draws: Draws, frame: Frame) -> _Figure:
    most = 6 if frame.side < SMALL_SIDE else 8
    sides = draws.between(3, most)
    radius = frame.side * draws.uniform(0.3, 0.42)
    centre = _centre(draws, frame, radius)
    first = draws.uniform(0, 2 * math.pi)
    points = [_around(centre, radius, first + 2 * math.pi * i / sides) for i in range(sides)]
    turns = [
        ask(draws, _SIDES, str(sides), numbers_near(draws, sides, 3, most)),
        ask(draws, _POLYGON, POLYGONS[sides], [POLYGONS[n] for n in range(3, most + 1)]),
    ]
    told = f"A regular polygon with {sides} sides, a {POLYGONS[sides]}."
    if sides == 8:
        told = told.replace(" a octagon", " an octagon")
    return _Figure(points, [draws.pick(turns)], told, {"sides": sides})


def _angle(draws: Draws, frame: Frame) -> _Figure:
    kinds = {"acute": (30, 45, 60), "right": (90,), "obtuse": (120, 135, 150)}
    kind = draws.pick(list(kinds))
    degrees = draws.pick(kinds[kind])
    first = draws.uniform(0, 2 * math.pi)
    length = frame.side * draws.uniform(0.4, 0.55)
    corner = (0.0, 0.0)
    ends = [_around(corner, length, first + turn) for turn in (0, math.radians(degrees))]
    points = _in_frame(draws, frame, [ends[0], corner, ends[1]])
    every = [str(n) for angles in kinds.values() for n in angles]
    turns = [
        ask(draws, _ANGLE, kind, list(kinds)),
        ask(draws, _DEGREES, str(degrees), every),
    ]
    article = "an" if kind[0] in "ao" else "a"
    told = f"Two lines that meet at {article} {kind} angle of {degrees} degrees."
    return _Figure(
        points, [draws.pick(turns)], told, {"degrees": degrees, "kind": kind}, closed=False
    )


def _rectangle(draws: Draws, frame: Frame) -> _Figure:
    width, height = draws.between(2, 12), draws.between(2, 12)
    scale = 0.55 / max(width, height)
    across = max(0.16, width * scale) * frame.side
    down = max(0.16, height * scale) * frame.side
    left = draws.uniform(0.18 * frame.width, 0.95 * frame.width - across)
    top = draws.uniform(0.08 * frame.height, 0.82 * frame.height - down)
    right, bottom = left + across, top + down
    em = _em(frame)
    labels = [
        (str(width), ((left + right) / 2, bottom + em * 0.9)),
        (str(height), (left - em * 1.0, (top + bottom) / 2)),
    ]
    area, around = width * height, 2 * (width + height)
    turns = [
        ask(draws, _AREA, str(area), [str(around), *numbers_near(draws, area, 4, 200)]),
        ask(draws, _PERIMETER, str(around), [str(area), *numbers_near(draws, around, 4, 60)]),
    ]
    points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    told = f"A rectangle {width} wide and {height} high."
    return _Figure(points, [draws.pick(turns)], told, {"width": width, "height": height}, labels)


def _triangle(draws: Draws, frame: Frame) -> _Figure:
    """Base angles are written, the one at the tip is asked for."""
    left = draws.between(7, 15) * 5
    right = draws.between(7, 15) * 5
    third = 180 - left - right
    base = 0.6 * frame.side
    slope = math.tan(math.radians(left)), math.tan(math.radians(right))
    height = base * slope[0] * slope[1] / (slope[0] + slope[1])
    # A steep triangle is made smaller, not flatter: its angles are what they say.
    shrink = min(1.0, 0.6 * frame.side / height)
    base, height = base * shrink, height * shrink
    x = draws.uniform(0.14 * frame.width, 0.86 * frame.width - base)
    y = draws.uniform(0.16 * frame.height + height, 0.84 * frame.height)
    tip = (x + height / slope[0], y - height)
    em = _em(frame)
    labels = [
        (f"{left}°", (x, y + em * 0.9)),
        (f"{right}°", (x + base, y + em * 0.9)),
        ("?", (tip[0], tip[1] - em * 0.9)),
    ]
    turn = ask(draws, _THIRD, str(third), [str(third + d) for d in (-20, -10, -5, 5, 10, 20)])
    told = f"A triangle with angles of {left}, {right} and {third} degrees."
    truth = {"angles": [left, right, third]}
    return _Figure([(x, y), (x + base, y), tip], [turn], told, truth, labels)


def _circle(draws: Draws, frame: Frame) -> _Figure:
    length = draws.between(2, 50)
    radius = frame.side * draws.uniform(0.28, 0.42)
    centre = _centre(draws, frame, radius)
    end = (centre[0] + radius, centre[1])
    label = (f"r = {length}", (centre[0] + radius * 0.5, centre[1] - _em(frame) * 0.8))
    turn = ask(
        draws, _DIAMETER, str(2 * length), [str(length), str(2 * length + 2), str(3 * length)]
    )
    truth = {"radius": length}
    return _Figure(
        [centre, end], [turn], f"A circle with a radius of {length}.", truth, [label],
        closed=False, circle=(centre, radius),
    )  # fmt: skip


_PLAIN: dict[str, Callable[[Draws, Frame], _Figure]] = {"polygon": _polygon, "angle": _angle}
_ALL = {**_PLAIN, "rectangle": _rectangle, "triangle": _triangle, "circle": _circle}


def _around(centre: Point, radius: float, angle: float) -> Point:
    return centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)


def _centre(draws: Draws, frame: Frame, radius: float) -> Point:
    edge = radius + 0.05 * frame.side
    return draws.uniform(edge, frame.width - edge), draws.uniform(edge, frame.height - edge)


def _in_frame(draws: Draws, frame: Frame, points: Sequence[Point]) -> list[Point]:
    """The points moved somewhere into the frame, made smaller where they are too large for it."""
    edge = 0.06 * frame.side
    xs, ys = [x for x, _ in points], [y for _, y in points]
    across, down = max(xs) - min(xs), max(ys) - min(ys)
    size = min(
        1.0, (frame.width - 2 * edge) / max(across, 1), (frame.height - 2 * edge) / max(down, 1)
    )
    x = draws.uniform(edge, frame.width - edge - across * size)
    y = draws.uniform(edge, frame.height - edge - down * size)
    return [(x + (a - min(xs)) * size, y + (b - min(ys)) * size) for a, b in points]


def _em(frame: Frame) -> int:
    return max(11, round(frame.side * 0.065))


def _painted(draws: Draws, frame: Frame, figure: _Figure) -> Image.Image:
    """The figure in the frame's layout, its labels in the ink of its lines."""
    background = draws.pick(list(BACKGROUNDS))
    paper = BACKGROUNDS[background]
    ink: RGB = (250, 250, 250) if background in ("black", "dark grey") else (20, 20, 20)
    # Of a fill that the labels can be read on.
    fill = shade(draws, draws.pick(seen_on(ink)))
    times = supersampling(frame.side)
    image = Image.new("RGB", (frame.width * times, frame.height * times), paper)
    draw = ImageDraw.Draw(image)
    thick = max(2, round(frame.side / 110 * times))
    if frame.layout == "squared":
        step = max(7, frame.side // 12) * times
        rule = tuple(p + (i - p) // 6 for p, i in zip(paper, ink, strict=True))
        for x in range(step, image.width, step):
            draw.line((x, 0, x, image.height), fill=rule, width=max(1, times // 2))
        for y in range(step, image.height, step):
            draw.line((0, y, image.width, y), fill=rule, width=max(1, times // 2))
    points = [(round(x * times), round(y * times)) for x, y in figure.points]
    filled = fill if frame.layout == "filled" else None
    if figure.circle is not None:
        (middle, level), radius = figure.circle
        sides = (middle - radius, level - radius, middle + radius, level + radius)
        box = [round(side * times) for side in sides]
        draw.ellipse(box, outline=ink, width=thick, fill=filled)
    if figure.closed:
        if filled is not None:
            draw.polygon(points, fill=filled)
        points.append(points[0])
    draw.line(points, fill=ink, width=thick, joint="curve")
    if frame.layout == "dotted":
        dot = 2 * thick
        for x, y in points:
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=fill)
    if times > 1:
        image = image.reduce(times)
    draw = ImageDraw.Draw(image)
    face = font("dejavu-sans", _em(frame))
    for text, at in figure.labels:
        draw.text((round(at[0]), round(at[1])), text, fill=ink, font=face, anchor="mm")
    return image


FAMILY = Family("geometry", make, Layouts(("filled", "outlined"), ("squared", "dotted")))
